/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/protocol.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/child.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"

/* It checks and locks a few megabytes. */
#define READY_MS 30000

/* A guard that has said its last word has nothing left to do. */
#define END_MS 1000

struct _SnapGuard {
  pid_t pid;
  int fd;
  GPtrArray *devices; /* char *, which it suspends */
  GString *received;  /* of a line that has not ended yet */
};

void
snap_guard_free (SnapGuard *self)
{
  if (self == NULL)
    return;
  snap_fd_clear (&self->fd);
  if (self->pid > 0)
    snap_child_reap (self->pid, END_MS);
  g_ptr_array_unref (self->devices);
  g_string_free (self->received, TRUE);
  g_free (self);
}

/* ---- starting ---- */

/* Where the installed one is, unless a test says otherwise. */
static const char *
program (void)
{
  const char *other = g_getenv ("NBDSNAP_GUARD");

  return other != NULL && *other != '\0' ? other : SNAP_GUARD_PROGRAM;
}

/* The window as a file without a name; -1 on error. */
static int
write_window (const SnapWindow *window, GError **error)
{
  g_autofree char *text = snap_window_format (window);
  snap_autofd int fd = memfd_create ("window", MFD_CLOEXEC);

  if (fd < 0) {
    snap_error_set_errno (error, errno, "guard: window");
    return -1;
  }
  if (!snap_fd_write_all (fd, text, strlen (text), error)) {
    g_prefix_error (error, "guard: window: ");
    return -1;
  }
  return snap_fd_steal (&fd);
}

static void
add_fd (GArray *fds, int parent_fd, int child_fd)
{
  const SnapChildFd fd = { parent_fd, child_fd };

  g_array_append_val (fds, fd);
}

static gboolean
launch (SnapGuard *self, int socket_fd, int window_fd, const GArray *locks,
        GError **error)
{
  const char *argv[] = { program (), G_STRINGIFY (GUARD_DEADLINE_MS), NULL };
  g_autoptr (GArray) fds = g_array_new (FALSE, FALSE, sizeof (SnapChildFd));
  SnapChildSpec spec = { .argv = argv };

  add_fd (fds, STDERR_FILENO, STDERR_FILENO);
  add_fd (fds, socket_fd, GUARD_SOCKET_FD);
  add_fd (fds, window_fd, GUARD_WINDOW_FD);
  for (guint i = 0; i < locks->len; i++)
    add_fd (fds, g_array_index (locks, int, i), GUARD_FIRST_LOCK_FD + (int) i);
  spec.fds = (const SnapChildFd *) (gpointer) fds->data;
  spec.n_fds = fds->len;
  self->pid = snap_child_start (&spec, error);
  return self->pid > 0;
}

static void
copy_devices (SnapGuard *self, const SnapWindow *window)
{
  self->devices = g_ptr_array_new_with_free_func (g_free);
  for (guint i = 0; i < window->devices->len; i++)
    g_ptr_array_add (self->devices, g_strdup (window->devices->pdata[i]));
}

/* ---- its words ---- */

/* The next line without its end, or NULL when the guard is gone or silent. */
static char *
read_line (SnapGuard *self, guint timeout_ms)
{
  SnapDeadline deadline = snap_deadline_in (timeout_ms);
  char *end;

  while ((end = strchr (self->received->str, '\n')) == NULL
         && self->received->len < GUARD_MAX_LINE) {
    struct pollfd poll_fd = { .fd = self->fd, .events = POLLIN };
    char bytes[GUARD_MAX_LINE];
    gssize n;

    if (poll (&poll_fd, 1, snap_deadline_left_ms (deadline)) < 1) {
      if (errno == EINTR && snap_deadline_left_ms (deadline) > 0)
        continue;
      return NULL;
    }
    n = read (self->fd, bytes, sizeof bytes);
    if (n <= 0)
      return NULL;
    g_string_append_len (self->received, bytes, n);
  }
  if (end == NULL)
    return NULL;
  *end = '\0';
  return g_strdup (self->received->str);
}

/* "failed CODE TEXT" as an error; FALSE if @line is something else. */
static gboolean
take_failure (const char *line, GError **error)
{
  guint64 code;
  const char *text;
  g_autofree char *digits = NULL;

  if (!g_str_has_prefix (line, GUARD_FAILED))
    return FALSE;
  line += strlen (GUARD_FAILED);
  text = strchr (line, ' ');
  if (text == NULL)
    return FALSE;
  digits = g_strndup (line, text - line);
  if (!g_ascii_string_to_unsigned (digits, 10, 0, SNAP_ERROR_FROZEN, &code,
                                   NULL))
    return FALSE;
  snap_error_set (error, (SnapError) code, "%s", text + 1);
  return TRUE;
}

static gboolean
await_ready (SnapGuard *self, GError **error)
{
  g_autofree char *line = read_line (self, READY_MS);

  if (line != NULL && g_str_equal (line, GUARD_READY)) {
    g_string_truncate (self->received, 0);
    return TRUE;
  }
  if (line != NULL && take_failure (line, error))
    return FALSE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: did not start",
                         program ());
}

SnapGuard *
snap_guard_start (const SnapWindow *window, const GArray *locks, GError **error)
{
  g_autoptr (SnapGuard) self = g_new0 (SnapGuard, 1);
  snap_autofd int window_fd = -1;
  snap_autofd int far_end = -1;
  int ends[2];

  self->fd = -1;
  self->received = g_string_new (NULL);
  copy_devices (self, window);
  snap_dm_load (); /* for resume_ourselves() */
  window_fd = write_window (window, error);
  if (window_fd < 0)
    return NULL;
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    snap_error_set_errno (error, errno, "guard: socket");
    return NULL;
  }
  self->fd = ends[0];
  far_end = ends[1];
  if (!launch (self, far_end, window_fd, locks, error))
    return NULL;
  snap_fd_clear (&far_end);
  return await_ready (self, error) ? g_steal_pointer (&self) : NULL;
}

/* ---- the window ---- */

/* The whole group, since the half that sends the messages is no child of
   ours: one that was stopped must not go on with them later, when what they
   name is something else.  Nobody may reap that half, but it has let go of
   its end of the conversation. */
static gboolean
end_it (SnapGuard *self)
{
  struct pollfd far_end = { .fd = self->fd };
  int n;

  kill (-self->pid, SIGKILL);
  snap_child_reap (self->pid, END_MS);
  self->pid = 0;
  do
    n = poll (&far_end, 1, GUARD_PATIENCE_MS);
  while (n < 0 && errno == EINTR);
  return n > 0 && (far_end.revents & POLLHUP) != 0;
}

/* The guard is gone without a word, or hangs: we are the last who can
   resume. */
static gboolean
resume_ourselves (SnapGuard *self, GError **error)
{
  if (!end_it (self))
    return snap_error_set (error, SNAP_ERROR_FROZEN,
                           "guard: hangs, and devices may still be suspended");
  for (guint i = 0; i < self->devices->len; i++) {
    const char *device = self->devices->pdata[i];
    SnapDmInfo info;

    if (!snap_dm_info (device, &info, NULL)
        || (info.suspended && !snap_dm_resume (device, NULL)))
      return snap_error_set (error, SNAP_ERROR_FROZEN,
                             "%s: may still be suspended, and the guard is "
                             "gone",
                             device);
  }
  return snap_error_set (error, SNAP_ERROR_FAILED,
                         "guard: was killed; all devices run again");
}

gboolean
snap_guard_go (SnapGuard *self, GError **error)
{
  static const char go[] = GUARD_GO "\n";
  g_autofree char *line = NULL;

  if (send (self->fd, go, strlen (go), MSG_NOSIGNAL) == (gssize) strlen (go))
    line = read_line (self, GUARD_DEADLINE_MS + GUARD_PATIENCE_MS + END_MS);
  if (line == NULL)
    return resume_ourselves (self, error);
  if (g_str_has_prefix (line, GUARD_DONE))
    return TRUE;
  if (take_failure (line, error))
    return FALSE;
  return snap_error_set (error, SNAP_ERROR_FROZEN, "%s",
                         g_str_has_prefix (line, GUARD_STUCK)
                             ? line + strlen (GUARD_STUCK)
                             : line);
}
