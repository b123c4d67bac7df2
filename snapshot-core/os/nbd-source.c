/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/nbd-source-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/command.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"

/* How long a server may take to open its image and shake hands. */
#define HANDSHAKE_MS (60 * 1000)

/* How long a server may be silent over a read: an image on storage that hangs
   must not make everybody hang who waits for us. */
#define READ_MS (60 * 1000)

/* How long a server may take to end once its connections are closed.  It has
   nothing to write, so ending it with a signal loses nothing. */
#define END_MS 1000

/* How long a server that ended by itself may take to be seen as ended: its
   connections break a moment earlier. */
#define REFUSED_MS 300

/* What is kept of a server's stderr; the first line goes into messages. */
#define MAX_STDERR (64 * 1024)

#define MAX_CONNECTIONS 64

#define lib snap_nbd_library

SnapNbdLibrary snap_nbd_library;

/* ---- libnbd, which brings a TLS library and an XML parser with it ---- */

static const char *const lib_names[] = { SNAP_NBD_FUNCTIONS (
    SNAP_LIBRARY_NAME) };

static gboolean
load_libnbd (GError **error)
{
  return snap_library_load (SNAP_LIBNBD_SONAME, lib_names,
                            G_N_ELEMENTS (lib_names), &lib, error);
}

/* ---- sockets: a listening one for the server, connected ones for us ---- */

typedef struct {
  int listen_fd;
  int *connected; /* -1 once taken */
  guint n;
} Sockets;

static void
sockets_clear (Sockets *self)
{
  snap_fd_clear (&self->listen_fd);
  for (guint i = 0; i < self->n; i++)
    snap_fd_clear (&self->connected[i]);
  self->n = 0;
  g_clear_pointer (&self->connected, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Sockets, sockets_clear)

static Sockets
sockets_init (guint n)
{
  Sockets self = { .listen_fd = -1, .connected = g_new (int, n), .n = n };

  for (guint i = 0; i < n; i++)
    self.connected[i] = -1;
  return self;
}

static int
unix_socket (void)
{
  return socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* Connections wait in the backlog until the server takes them. */
static gboolean
listen_and_connect (Sockets *self, const struct sockaddr_un *address)
{
  const struct sockaddr *plain = (const struct sockaddr *) address;

  self->listen_fd = unix_socket ();
  if (self->listen_fd < 0 || bind (self->listen_fd, plain, sizeof *address) < 0
      || listen (self->listen_fd, (int) self->n) < 0)
    return FALSE;
  for (guint i = 0; i < self->n; i++) {
    self->connected[i] = unix_socket ();
    if (self->connected[i] < 0
        || connect (self->connected[i], plain, sizeof *address) < 0)
      return FALSE;
  }
  return TRUE;
}

/*
 * The socket has a name only inside this call, in a directory that nobody
 * else may enter: afterwards nobody can connect any more.  It is addressed
 * through the directory's descriptor because a path in a socket address is
 * short and one in TMPDIR may not be.
 */
static gboolean
sockets_open (Sockets *self, const char *name, GError **error)
{
  g_autofree char *directory =
      g_build_filename (g_get_tmp_dir (), "nbdsnap-XXXXXX", NULL);
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  snap_autofd int directory_fd = -1;
  gboolean connected;
  int saved;

  if (g_mkdtemp (directory) == NULL)
    return snap_error_set_errno (error, errno, "%s", directory);
  directory_fd = open (directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  g_snprintf (address.sun_path, sizeof address.sun_path,
              "/proc/self/fd/%d/socket", directory_fd);
  connected = directory_fd >= 0 && listen_and_connect (self, &address);
  saved = errno;
  unlinkat (directory_fd, "socket", 0);
  g_rmdir (directory);
  return connected || snap_error_set_errno (error, saved, "%s: socket", name);
}

/* ---- the server ---- */

/* A file that cannot grow, so that a talkative server costs no memory. */
static gboolean
open_stderr (SnapNbdSource *self, GError **error)
{
  self->stderr_fd = memfd_create ("stderr", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (self->stderr_fd < 0 || ftruncate (self->stderr_fd, MAX_STDERR) < 0
      || fcntl (self->stderr_fd, F_ADD_SEALS, F_SEAL_GROW) < 0)
    return snap_error_set_errno (error, errno, "%s: memory file", self->name);
  return TRUE;
}

static char *
first_stderr_line (SnapNbdSource *self)
{
  g_autofree char *text = g_malloc0 (MAX_STDERR + 1);

  if (pread (self->stderr_fd, text, MAX_STDERR, 0) < 0)
    return NULL;
  return snap_command_first_line (self->program, text);
}

static gboolean
start_server (SnapNbdSource *self, const char *const *argv, const int *fds,
              gsize n_fds, int listen_fd, GError **error)
{
  g_autofree SnapChildFd *child_fds = g_new (SnapChildFd, n_fds + 2);

  child_fds[0] = (SnapChildFd){ self->stderr_fd, STDERR_FILENO };
  child_fds[1] = (SnapChildFd){ listen_fd, 3 };
  for (gsize i = 0; i < n_fds; i++)
    child_fds[i + 2] = (SnapChildFd){ fds[i], (int) (4 + i) };
  self->server = snap_keeper_start (
      &(SnapChildSpec){
          .argv = argv, .fds = child_fds, .n_fds = n_fds + 2, .listen_fds = 1 },
      error);
  if (self->server == NULL) {
    g_prefix_error (error, "%s: ", self->name);
    return FALSE;
  }
  self->pid = snap_keeper_pid (self->server);
  return TRUE;
}

/* Reap the server, which has ended or is about to, and say how it ended. */
static char *
describe_status (SnapNbdSource *self)
{
  int status = snap_keeper_end (g_steal_pointer (&self->server), END_MS);
  g_autofree char *how = snap_child_status_text (status);
  g_autofree char *line = first_stderr_line (self);

  if (line == NULL)
    return g_strdup_printf ("%s: %s ended: it %s", self->name, self->program,
                            how);
  return g_strdup_printf ("%s: %s ended: %s (%s)", self->name, self->program,
                          line, how);
}

char *
snap_nbd_source_describe_end (SnapNbdSource *self)
{
  gboolean is_ours = self->server != NULL;
  g_autofree char *text = is_ours
                              ? describe_status (self)
                              : g_strdup_printf ("%s: %s closed the connection",
                                                 self->name, self->program);

  if (!g_atomic_int_get (&self->silent))
    return g_steal_pointer (&text);
  return g_strdup_printf ("%s: %s did not answer for %u s%s", self->name,
                          self->program, (self->patience_ms + 999) / 1000,
                          is_ours ? " and was ended" : "");
}

/* ---- connections ---- */

/* What to ask a server for. */
typedef struct {
  const char *export_name;
  const char *const *contexts; /* NULL-terminated */
} Wanted;

static gboolean
ask_for (struct nbd_handle *nbd, const Wanted *wanted)
{
  const char *const *context = wanted->contexts;

  if (lib.nbd_set_export_name (nbd, wanted->export_name) < 0
      || lib.nbd_set_request_structured_replies (nbd, *context != NULL) < 0)
    return FALSE;
  for (; *context != NULL; context++)
    if (lib.nbd_add_meta_context (nbd, *context) < 0)
      return FALSE;
  return TRUE;
}

static gboolean
shake_hands (struct nbd_handle *nbd, int *fd, const Wanted *wanted,
             SnapDeadline deadline)
{
  if (!ask_for (nbd, wanted)
      || lib.nbd_aio_connect_socket (nbd, snap_fd_steal (fd)) < 0)
    return FALSE;
  while (lib.nbd_aio_is_connecting (nbd)) {
    if (lib.nbd_poll (nbd, snap_deadline_left_ms (deadline)) <= 0)
      return FALSE;
  }
  return lib.nbd_aio_is_ready (nbd);
}

static void
close_handle (gpointer handle)
{
  lib.nbd_close (handle);
}

static void
clear_socket (gpointer fd)
{
  snap_fd_clear (fd);
}

static gboolean
connect_all (SnapNbdSource *self, Sockets *sockets, const Wanted *wanted)
{
  SnapDeadline deadline = snap_deadline_in (HANDSHAKE_MS);

  for (guint i = 0; i < sockets->n; i++) {
    struct nbd_handle *nbd = lib.nbd_create ();

    if (nbd == NULL)
      return FALSE;
    g_ptr_array_add (self->handles, nbd);
    if (!shake_hands (nbd, &sockets->connected[i], wanted, deadline))
      return FALSE;
    g_async_queue_push (self->idle, nbd);
    self->n_alive++;
  }
  return TRUE;
}

static gboolean
learn_size (SnapNbdSource *self)
{
  gint64 size = lib.nbd_get_size (g_ptr_array_index (self->handles, 0));

  self->size = (guint64) size;
  return size >= 0;
}

static gboolean
check_contexts (SnapNbdSource *self, const Wanted *wanted, GError **error)
{
  const char *const *context = wanted->contexts;

  for (; *context != NULL; context++)
    if (lib.nbd_can_meta_context (g_ptr_array_index (self->handles, 0),
                                  *context)
        != 1)
      return snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                             "%s: %s does not offer %s", self->name,
                             self->program, *context);
  return TRUE;
}

/*
 * Say why there is no connection: how the server ended, or, if it did not,
 * what libnbd made of its answer.  That is looked at before we hang up, since
 * then it may end too, with a complaint about us.
 */
static gboolean
refuse_server (SnapNbdSource *self, GError **error)
{
  const char *text = lib.nbd_get_error ();
  g_autofree char *answer = g_strdup (text != NULL ? text : "no answer");
  gboolean ended = snap_child_wait (self->pid, REFUSED_MS);
  g_autofree char *end = NULL;

  g_ptr_array_set_size (self->handles, 0); /* hangs up */
  end = snap_nbd_source_describe_end (self);
  if (ended)
    return snap_error_set (error, SNAP_ERROR_IO, "%s", end);
  return snap_error_set (error, SNAP_ERROR_IO, "%s: %s: %s", self->name,
                         self->program, answer);
}

static SnapNbdSource *
source_new (const char *program, const char *name)
{
  SnapNbdSource *self = g_new0 (SnapNbdSource, 1);

  self->name = g_strdup (name);
  self->program = g_path_get_basename (program);
  self->stderr_fd = -1;
  self->patience_ms = READ_MS;
  self->handles = g_ptr_array_new_with_free_func (close_handle);
  self->sockets = g_array_new (FALSE, FALSE, sizeof (int));
  g_array_set_clear_func (self->sockets, clear_socket);
  self->idle = g_async_queue_new ();
  return self;
}

/* Why it could not be told: it ended, or had an objection, which it may have
   explained in print. */
static gboolean
refuse_instructions (SnapNbdSource *self, GError *reason, GError **error)
{
  gboolean ended = snap_child_wait (self->pid, REFUSED_MS);
  g_autofree char *line = ended ? NULL : first_stderr_line (self);
  g_autofree char *end = ended ? snap_nbd_source_describe_end (self) : NULL;

  if (ended)
    snap_error_set (error, SNAP_ERROR_IO, "%s", end);
  else
    snap_error_set (error, (SnapError) reason->code,
                    line != NULL ? "%s (%s)" : "%s", reason->message, line);
  g_error_free (reason);
  return FALSE;
}

static gboolean
instruct (SnapNbdSource *self, const SnapNbdServer *server, GError **error)
{
  GError *reason = NULL;

  return server->instruct == NULL
         || server->instruct (server->user_data, &reason)
         || refuse_instructions (self, reason, error);
}

SnapNbdSource *
snap_nbd_source_start (const SnapNbdServer *server, const char *name,
                       GError **error)
{
  g_autoptr (SnapNbdSource) self = source_new (server->argv[0], name);
  g_auto (Sockets) sockets = sockets_init (server->n_connections);
  const Wanted wanted = { server->export_name, server->contexts };

  g_return_val_if_fail (server->n_connections > 0
                            && server->n_connections <= MAX_CONNECTIONS,
                        NULL);

  self->end_ms = server->instruct == NULL ? END_MS : 0;
  if (!load_libnbd (error) || !open_stderr (self, error)
      || !sockets_open (&sockets, name, error)
      || !start_server (self, server->argv, server->fds, server->n_fds,
                        sockets.listen_fd, error))
    return NULL;

  /* From here on only the server listens: when it ends, what waits in the
     backlog is refused instead of waiting for ever. */
  snap_fd_clear (&sockets.listen_fd);
  if (!instruct (self, server, error))
    return NULL;
  if (!connect_all (self, &sockets, &wanted) || !learn_size (self)) {
    sockets_clear (&sockets);
    refuse_server (self, error);
    return NULL;
  }
  return check_contexts (self, &wanted, error) ? g_steal_pointer (&self) : NULL;
}

SnapNbdSource *
snap_nbd_source_spawn (const char *const *argv, const int *fds, gsize n_fds,
                       const char *export_name, guint n_connections,
                       const char *name, GError **error)
{
  const SnapNbdServer server = {
    .argv = argv,
    .fds = fds,
    .n_fds = n_fds,
    .export_name = export_name,
    .contexts = (const char *const[]){ NULL },
    .n_connections = n_connections,
  };

  return snap_nbd_source_start (&server, name, error);
}

/* ---- servers that run already ---- */

/* Addressed through the directory's descriptor, because a path in a socket
   address is short. */
static gboolean
make_address (const char *path, struct sockaddr_un *address, int *directory_fd)
{
  g_autofree char *directory = g_path_get_dirname (path);
  g_autofree char *file = g_path_get_basename (path);
  int length;

  *directory_fd = open (directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  address->sun_family = AF_UNIX;
  length = g_snprintf (address->sun_path, sizeof address->sun_path,
                       "/proc/self/fd/%d/%s", *directory_fd, file);
  if (*directory_fd >= 0 && length >= (int) sizeof address->sun_path)
    errno = ENAMETOOLONG;
  return *directory_fd >= 0 && length < (int) sizeof address->sun_path;
}

static gboolean
sockets_connect (Sockets *self, const struct sockaddr_un *address,
                 GArray *copies)
{
  for (guint i = 0; i < self->n; i++) {
    int copy;

    self->connected[i] = unix_socket ();
    if (self->connected[i] < 0
        || connect (self->connected[i], (const struct sockaddr *) address,
                    sizeof *address)
               < 0)
      return FALSE;
    copy = fcntl (self->connected[i], F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
      return FALSE;
    g_array_append_val (copies, copy);
  }
  return TRUE;
}

SnapNbdSource *
snap_nbd_source_connect (const char *path, const char *program,
                         const char *export_name, const char *const *contexts,
                         guint n_connections, const char *name, GError **error)
{
  g_autoptr (SnapNbdSource) self = source_new (program, name);
  g_auto (Sockets) sockets = sockets_init (n_connections);
  const Wanted wanted = { export_name, contexts };
  struct sockaddr_un address = { 0 };
  snap_autofd int directory_fd = -1;

  g_return_val_if_fail (n_connections > 0 && n_connections <= MAX_CONNECTIONS,
                        NULL);

  if (!load_libnbd (error))
    return NULL;
  if (!make_address (path, &address, &directory_fd)
      || !sockets_connect (&sockets, &address, self->sockets)) {
    snap_error_set_errno (error, errno, "%s: %s", name, path);
    return NULL;
  }
  if (!connect_all (self, &sockets, &wanted) || !learn_size (self)) {
    const char *text = lib.nbd_get_error ();

    snap_error_set (error, SNAP_ERROR_IO, "%s: %s: %s", name, self->program,
                    text != NULL ? text : "no answer");
    return NULL;
  }
  return check_contexts (self, &wanted, error) ? g_steal_pointer (&self) : NULL;
}

guint64
snap_nbd_source_size (SnapNbdSource *self)
{
  return self->size;
}

void
snap_nbd_source_set_patience (SnapNbdSource *self, guint patience_ms)
{
  self->patience_ms = patience_ms;
}

int
snap_nbd_source_pid (SnapNbdSource *self)
{
  return self->pid;
}

/* We hang up without a goodbye: libnbd 1.14 uses memory that it freed when it
   sends one to a server that is gone.  A server that serves one client after
   another ends with its last connection. */
void
snap_nbd_source_close (SnapNbdSource *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref (self->handles);
  g_array_unref (self->sockets);
  if (self->server != NULL)
    snap_keeper_end (self->server, self->end_ms);
  g_async_queue_unref (self->idle);
  snap_fd_clear (&self->stderr_fd);
  g_free (self->name);
  g_free (self->program);
  g_free (self->ended);
  g_free (self);
}
