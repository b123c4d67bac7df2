/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/server.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nbd-server/connection.h"
#include "nbd-server/listener.h"
#include "nbd-server/tls.h"
#include "snapshot-core/base/error.h"

/* How long no client is let in after the system had no room for one. */
#define PAUSE_MS 100

struct _SnapNbdServer {
  SnapNbdTerms terms;
  SnapNbdTlsContext *tls; /* or NULL */
  char *psk_file;         /* that clients can have from here, or NULL */
  GPtrArray *listeners;   /* SnapNbdListener; unchanged after the start */
  int wake;               /* an eventfd: somebody ended, or all shall */
  GThread *thread;        /* lets clients in and sees them off */
  GPtrArray *guests;      /* Guest; only that thread uses it */

  gint stopping; /* atomic */
  guint grace_ms;

  GMutex lock;  /* guards the rest */
  GQueue ended; /* Guest, to be seen off */
  guint n_connections;
  guint64 n_accepted, n_refused;
};

/* A connection and its thread. */
typedef struct {
  SnapNbdServer *server;
  SnapNbdConnection *connection;
  GThread *thread;
} Guest;

static void
wake_up (SnapNbdServer *self)
{
  const guint64 one = 1;

  /* It can only fail when the thread is as good as awake. */
  if (write (self->wake, &one, sizeof one) < 0)
    return;
}

static void
say (SnapNbdServer *self, const char *message)
{
  if (self->terms.options.log != NULL)
    self->terms.options.log (message, self->terms.options.log_data);
}

/* ---- one guest ---- */

static gpointer
run_guest (gpointer guest)
{
  Guest *self = guest;
  SnapNbdServer *server = self->server;

  snap_nbd_connection_run (self->connection);
  g_mutex_lock (&server->lock);
  g_queue_push_tail (&server->ended, self);
  g_mutex_unlock (&server->lock);
  wake_up (server);
  return NULL;
}

static void
free_guest (gpointer guest)
{
  Guest *self = guest;

  snap_nbd_connection_free (self->connection);
  g_free (self);
}

static void
count_guest (SnapNbdServer *self, gboolean accepted)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  self->n_connections = self->guests->len;
  self->n_accepted += accepted;
  self->n_refused += !accepted;
}

static void
let_in (SnapNbdServer *self, int fd)
{
  Guest *guest = g_new0 (Guest, 1);
  gboolean is_in;

  guest->server = self;
  guest->connection = snap_nbd_connection_new (fd, &self->terms);
  if (self->guests->len < self->terms.options.max_connections)
    guest->thread = g_thread_try_new ("nbd", run_guest, guest, NULL);
  is_in = guest->thread != NULL;
  if (is_in)
    g_ptr_array_add (self->guests, guest);
  else
    free_guest (guest);
  count_guest (self, is_in);
}

static Guest *
take_ended (SnapNbdServer *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return g_queue_pop_head (&self->ended);
}

static void
see_off (SnapNbdServer *self)
{
  Guest *guest;

  while ((guest = take_ended (self)) != NULL) {
    g_thread_join (guest->thread);
    g_ptr_array_remove_fast (self->guests, guest);
  }
  g_mutex_lock (&self->lock);
  self->n_connections = self->guests->len;
  g_mutex_unlock (&self->lock);
}

/* ---- the thread that lets them in ---- */

/* FALSE when the system has no room for more. */
static gboolean
accept_one (SnapNbdServer *self, int listening)
{
  int fd = accept4 (listening, NULL, NULL, SOCK_CLOEXEC);

  if (fd >= 0)
    let_in (self, fd);
  return fd >= 0
         || (errno != EMFILE && errno != ENFILE && errno != ENOBUFS
             && errno != ENOMEM);
}

/* The wake-up first, then every socket. */
static GArray *
what_to_watch (SnapNbdServer *self)
{
  GArray *watched = g_array_new (FALSE, FALSE, sizeof (struct pollfd));
  struct pollfd one = { self->wake, POLLIN, 0 };

  g_array_append_val (watched, one);
  for (guint i = 0; i < self->listeners->len; i++) {
    const SnapNbdListener *listener = g_ptr_array_index (self->listeners, i);

    for (guint j = 0; j < snap_nbd_listener_n_sockets (listener); j++) {
      one.fd = snap_nbd_listener_socket (listener, j);
      g_array_append_val (watched, one);
    }
  }
  return watched;
}

/* Wait, and see off who has ended; @n descriptors of @watched count. */
static void
wait_for (SnapNbdServer *self, struct pollfd *watched, guint n, int timeout_ms)
{
  guint64 count;

  for (guint i = 0; i < n; i++)
    watched[i].revents = 0;
  (void) poll (watched, n, timeout_ms);
  if (watched[0].revents != 0 && read (self->wake, &count, sizeof count) > 0)
    see_off (self);
}

static void
welcome (SnapNbdServer *self, struct pollfd *watched, guint n)
{
  while (!g_atomic_int_get (&self->stopping)) {
    gboolean has_room = TRUE;

    wait_for (self, watched, n, -1);
    for (guint i = 1; i < n && has_room; i++)
      if (watched[i].revents != 0)
        has_room = accept_one (self, watched[i].fd);
    if (!has_room) {
      say (self, "server: no room for another connection now");
      wait_for (self, watched, 1, PAUSE_MS);
    }
  }
}

static void
for_all_guests (SnapNbdServer *self, void (*func) (SnapNbdConnection *))
{
  for (guint i = 0; i < self->guests->len; i++)
    func (((Guest *) g_ptr_array_index (self->guests, i))->connection);
}

/* Whoever has not gone in time is sent. */
static void
send_away (SnapNbdServer *self, struct pollfd *wake)
{
  gint64 deadline = g_get_monotonic_time () + (gint64) self->grace_ms * 1000;

  for_all_guests (self, snap_nbd_connection_stop);
  see_off (self);
  while (self->guests->len > 0 && g_get_monotonic_time () < deadline)
    wait_for (self, wake, 1, (deadline - g_get_monotonic_time ()) / 1000 + 1);
  if (self->guests->len > 0)
    say (self, "server: clients that did not take their replies are cut off");
  for_all_guests (self, snap_nbd_connection_break);
  while (self->guests->len > 0)
    wait_for (self, wake, 1, -1);
}

static gpointer
run_server (gpointer server)
{
  SnapNbdServer *self = server;
  g_autoptr (GArray) watched = what_to_watch (self);
  struct pollfd *first = &g_array_index (watched, struct pollfd, 0);

  welcome (self, first, watched->len);
  g_ptr_array_set_size (self->listeners, 0);
  send_away (self, first);
  return NULL;
}

/* ---- the front ends' side ---- */

static SnapNbdServerOptions
with_defaults (const SnapNbdServerOptions *options)
{
  SnapNbdServerOptions result = *options;

  if (result.max_connections == 0)
    result.max_connections = SNAP_NBD_DEFAULT_CONNECTIONS;
  if (result.handshake_timeout_ms == 0)
    result.handshake_timeout_ms = SNAP_NBD_DEFAULT_HANDSHAKE_MS;
  return result;
}

SnapNbdServer *
snap_nbd_server_new (SnapExports *exports, const SnapNbdServerOptions *options,
                     GError **error)
{
  int wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  SnapNbdServer *self;

  if (wake < 0) {
    snap_error_set_errno (error, errno, "server: eventfd");
    return NULL;
  }
  self = g_new0 (SnapNbdServer, 1);
  self->terms.exports = exports;
  snap_exports_hold_bases (exports);
  self->terms.options = with_defaults (options);
  self->listeners =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_nbd_listener_close);
  self->guests = g_ptr_array_new_with_free_func (free_guest);
  self->wake = wake;
  g_mutex_init (&self->lock);
  g_queue_init (&self->ended);
  return self;
}

gboolean
snap_nbd_server_secure (SnapNbdServer *self, SnapNbdTls tls,
                        const SnapNbdTlsKeys *keys, GError **error)
{
  self->tls = snap_nbd_tls_context_new (keys, error);
  if (self->tls == NULL)
    return FALSE;
  self->terms.tls = tls;
  self->terms.secure = snap_nbd_tls_secure;
  self->terms.secure_data = self->tls;
  if (keys->psk_file != NULL)
    self->psk_file = g_canonicalize_filename (keys->psk_file, NULL);
  return TRUE;
}

static gboolean
add_listener (SnapNbdServer *self, SnapNbdListener *listener)
{
  if (listener != NULL)
    g_ptr_array_add (self->listeners, listener);
  return listener != NULL;
}

gboolean
snap_nbd_server_listen (SnapNbdServer *self, const char *address,
                        GError **error)
{
  return add_listener (self, snap_nbd_listener_open (address, error));
}

gboolean
snap_nbd_server_adopt (SnapNbdServer *self, int fd, GError **error)
{
  return add_listener (self, snap_nbd_listener_adopt (fd, error));
}

guint
snap_nbd_server_n_listeners (SnapNbdServer *self)
{
  return self->listeners->len;
}

char *
snap_nbd_server_uri (SnapNbdServer *self, guint index, const char *name)
{
  const SnapNbdUriTls tls = {
    .client =
        self->tls != NULL ? snap_nbd_tls_context_client (self->tls) : NULL,
    .psk_file = self->psk_file,
  };

  g_return_val_if_fail (index < self->listeners->len, NULL);
  return snap_nbd_listener_uri (g_ptr_array_index (self->listeners, index),
                                name, self->tls != NULL ? &tls : NULL);
}

void
snap_nbd_server_start (SnapNbdServer *self)
{
  g_return_if_fail (self->thread == NULL);
  self->thread = g_thread_new ("nbd-server", run_server, self);
}

void
snap_nbd_server_stop (SnapNbdServer *self, guint grace_ms)
{
  if (self->thread == NULL)
    return;
  self->grace_ms = grace_ms;
  g_atomic_int_set (&self->stopping, TRUE);
  snap_exports_cancel (self->terms.exports);
  wake_up (self);
  g_clear_pointer (&self->thread, g_thread_join);
}

void
snap_nbd_server_let_go (SnapNbdServer *self)
{
  for (guint i = 0; i < self->listeners->len; i++)
    snap_nbd_listener_let_go (g_ptr_array_index (self->listeners, i));
}

void
snap_nbd_server_free (SnapNbdServer *self)
{
  if (self == NULL)
    return;
  snap_nbd_server_stop (self, 0);
  g_ptr_array_unref (self->listeners);
  g_ptr_array_unref (self->guests);
  snap_nbd_tls_context_free (self->tls);
  g_free (self->psk_file);
  close (self->wake);
  g_mutex_clear (&self->lock);
  g_free (self);
}

SnapNbdServerStatus
snap_nbd_server_status (SnapNbdServer *self)
{
  const SnapNbdCounters *counters = &self->terms.counters;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return (SnapNbdServerStatus){
    .n_connections = self->n_connections,
    .n_accepted = self->n_accepted,
    .n_refused = self->n_refused,
    .n_secured = snap_nbd_counted (&counters->n_secured),
    .n_reads = snap_nbd_counted (&counters->n_reads),
    .n_statuses = snap_nbd_counted (&counters->n_statuses),
    .n_caches = snap_nbd_counted (&counters->n_caches),
    .n_failures = snap_nbd_counted (&counters->n_failures),
    .bytes_sent = snap_nbd_counted (&counters->bytes_sent),
  };
}
