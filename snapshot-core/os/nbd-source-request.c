/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/nbd-source-private.h"

#include <signal.h>
#include <sys/socket.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/deadline.h"

#define lib snap_nbd_library

/* The longest read that every NBD server accepts, bytes. */
#define MAX_READ (32 * 1024 * 1024)

/* The most that is asked for with one status or zero request, bytes: what
   32 bits can say, in whole pieces of any granularity. */
#define MAX_RANGE (G_GUINT64_CONSTANT (1) << 30)

/* One request on its way: issue() starts it and returns libnbd's cookie. */
typedef struct {
  const char *verb; /* for messages */
  guint64 offset;
  gsize length;
  gint64 (*issue) (struct nbd_handle *nbd, gpointer request);
} Request;

/* ---- one request over whichever connection is free ---- */

static struct nbd_handle *
take_handle (SnapNbdSource *self, GError **error)
{
  gpointer item = g_async_queue_pop (self->idle);

  if (item != self)
    return item;
  g_async_queue_push (self->idle, self);
  snap_error_set (error, SNAP_ERROR_IO, "%s", self->ended);
  return NULL;
}

/* Leave a connection that has ended out of the queue. */
static void
retire_handle (SnapNbdSource *self)
{
  if (!g_atomic_int_dec_and_test (&self->n_alive))
    return;
  self->ended = snap_nbd_source_describe_end (self);
  g_async_queue_push (self->idle, self);
}

static gboolean
has_ended (struct nbd_handle *nbd)
{
  return lib.nbd_aio_is_dead (nbd) || lib.nbd_aio_is_closed (nbd);
}

/* A server that is silent will not answer the others either: with it end all
   connections, each in the hands that hold it. */
static void
give_up (SnapNbdSource *self)
{
  if (!g_atomic_int_compare_and_exchange (&self->silent, 0, 1))
    return;
  if (self->pid > 0)
    kill (self->pid, SIGKILL);
  for (guint i = 0; i < self->sockets->len; i++)
    shutdown (g_array_index (self->sockets, int, i), SHUT_RDWR);
}

/* FALSE when the connection has failed or was silent for too long: then the
   request may still write to its buffer as long as the connection is used. */
static gboolean
run_in_time (SnapNbdSource *self, struct nbd_handle *nbd, Request *request,
             gboolean *in_time)
{
  SnapDeadline deadline = snap_deadline_in (self->patience_ms);
  int done = 0;
  gint64 cookie = request->issue (nbd, request);

  *in_time = TRUE;
  while (cookie > 0
         && (done = lib.nbd_aio_command_completed (nbd, (uint64_t) cookie))
                == 0) {
    int left_ms = snap_deadline_left_ms (deadline);
    int polled = left_ms > 0 ? lib.nbd_poll (nbd, left_ms) : 0;

    *in_time = polled != 0 || left_ms > 1;
    if (polled < 0 || !*in_time)
      return FALSE;
  }
  return done > 0;
}

/* A connection that ends while we use it is no error as long as there is
   another one; usually it is the server that ended, and with it all. */
static gboolean
run (SnapNbdSource *self, Request *request, GError **error)
{
  struct nbd_handle *nbd;

  while ((nbd = take_handle (self, error)) != NULL) {
    gboolean in_time;
    gboolean done = run_in_time (self, nbd, request, &in_time);

    if (!in_time)
      give_up (self);
    if (!in_time || (!done && has_ended (nbd))) {
      retire_handle (self);
      continue;
    }
    if (!done)
      snap_error_set (error, SNAP_ERROR_IO,
                      "%s: %s at offset %" G_GUINT64_FORMAT ": %s", self->name,
                      request->verb, request->offset, lib.nbd_get_error ());
    g_async_queue_push (self->idle, nbd);
    return done;
  }
  return FALSE;
}

static gboolean
check_range (SnapNbdSource *self, guint64 offset, guint64 length,
             GError **error)
{
  if (offset <= self->size && length <= self->size - offset)
    return TRUE;
  return snap_error_set (
      error, SNAP_ERROR_IO,
      "%s: %" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
      " lie outside the %" G_GUINT64_FORMAT " bytes that %s gives",
      self->name, length, offset, self->size, self->program);
}

/* ---- reads ---- */

typedef struct {
  Request request;
  void *buffer;
} Read;

static gint64
issue_read (struct nbd_handle *nbd, gpointer request)
{
  const Read *self = request;

  return lib.nbd_aio_pread (nbd, self->buffer, self->request.length,
                            self->request.offset, NBD_NULL_COMPLETION, 0);
}

gboolean
snap_nbd_source_read (SnapNbdSource *self, guint64 offset, void *buffer,
                      gsize length, GError **error)
{
  if (!check_range (self, offset, length, error))
    return FALSE;
  for (gsize done = 0; done < length;) {
    gsize piece = MIN (length - done, MAX_READ);
    Read read = { { "read", offset + done, piece, issue_read },
                  (guint8 *) buffer + done };

    if (!run (self, &read.request, error))
      return FALSE;
    done += piece;
  }
  return TRUE;
}

/* ---- zeroes ---- */

static gint64
issue_zero (struct nbd_handle *nbd, gpointer request)
{
  const Request *self = request;

  return lib.nbd_aio_zero (nbd, self->length, self->offset, NBD_NULL_COMPLETION,
                           0);
}

gboolean
snap_nbd_source_zero (SnapNbdSource *self, guint64 offset, guint64 length,
                      GError **error)
{
  if (!check_range (self, offset, length, error))
    return FALSE;
  for (guint64 done = 0; done < length;) {
    guint64 piece = MIN (length - done, MAX_RANGE);
    Request request = { "zero", offset + done, piece, issue_zero };

    if (!run (self, &request, error))
      return FALSE;
    done += piece;
  }
  return TRUE;
}

/* ---- block status ---- */

typedef struct {
  guint64 length;
  guint64 flags;
} Entry;

typedef struct {
  Request request;
  const char *context;
  GArray *entries; /* Entry */
} Status;

/* The server's own words; called by the thread that polls. */
static int
take_entries (void *user_data, const char *context, uint64_t offset,
              uint32_t *words, size_t n_words, int *failure)
{
  Status *self = user_data;

  if (!g_str_equal (context, self->context) || offset != self->request.offset)
    return 0;
  g_array_set_size (self->entries, 0);
  for (size_t i = 0; i + 1 < n_words; i += 2) {
    Entry entry = { words[i], words[i + 1] };

    g_array_append_val (self->entries, entry);
  }
  return 0;
}

static gint64
issue_status (struct nbd_handle *nbd, gpointer request)
{
  Status *self = request;

  g_array_set_size (self->entries, 0);
  return lib.nbd_aio_block_status (
      nbd, self->request.length, self->request.offset,
      (nbd_extent_callback){ .callback = take_entries, .user_data = self },
      NBD_NULL_COMPLETION, 0);
}

/* Hand on what was answered, not more than was asked for; *done, in bytes. */
static gboolean
emit_entries (const Status *status, SnapNbdStatusFunc emit, gpointer user_data,
              guint64 *done, GError **error)
{
  guint64 left = status->request.length;

  for (guint i = 0; i < status->entries->len && left > 0; i++) {
    const Entry *entry = &g_array_index (status->entries, Entry, i);
    guint64 length = MIN (entry->length, left);

    if (length == 0)
      break;
    if (!emit (status->request.offset + status->request.length - left, length,
               (guint32) entry->flags, user_data, error))
      return FALSE;
    left -= length;
  }
  *done = status->request.length - left;
  return TRUE;
}

gboolean
snap_nbd_source_status (SnapNbdSource *self, const char *context,
                        guint64 offset, guint64 length, SnapNbdStatusFunc emit,
                        gpointer user_data, GError **error)
{
  g_autoptr (GArray) entries = g_array_new (FALSE, FALSE, sizeof (Entry));

  if (!check_range (self, offset, length, error))
    return FALSE;
  while (length > 0) {
    Status status = { { "status", offset, MIN (length, MAX_RANGE),
                        issue_status },
                      context,
                      entries };
    guint64 done;

    if (!run (self, &status.request, error)
        || !emit_entries (&status, emit, user_data, &done, error))
      return FALSE;
    if (done == 0)
      return snap_error_set (error, SNAP_ERROR_IO,
                             "%s: %s answered nothing about offset "
                             "%" G_GUINT64_FORMAT,
                             self->name, self->program, offset);
    offset += done;
    length -= done;
  }
  return TRUE;
}
