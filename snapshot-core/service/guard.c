/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/protocol.h"
#include "qmp/guest.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/child.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"

/* It checks and locks a few megabytes. */
#define READY_MS 30000

/* A guard that has said its last word has nothing left to do. */
#define END_MS 1000

/* Its deadline, its patience, and a little more. */
#define ANSWER_MS (GUARD_DEADLINE_MS + GUARD_PATIENCE_MS + END_MS)

struct _SnapGuard {
  pid_t pid;
  int fd;
  gboolean has_guest;
  gboolean is_quiet;  /* the guest stands still until we say so */
  int guest_fds[2];   /* of its monitor and agent: copies, or -1 */
  GuardNotes *notes;  /* shared with the guard */
  GPtrArray *devices; /* char *, which it suspends */
  GString *received;  /* what was not taken yet */
};

void
snap_guard_free (SnapGuard *self)
{
  if (self == NULL)
    return;
  if (self->is_quiet)
    snap_guard_undo (self, NULL);
  snap_fd_clear (&self->fd);
  if (self->pid > 0)
    snap_child_reap (self->pid, END_MS);
  snap_fd_clear (&self->guest_fds[0]);
  snap_fd_clear (&self->guest_fds[1]);
  if (self->notes != NULL)
    munmap (self->notes, sizeof *self->notes);
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

/* The page that is shared, of a file of the caller's or of one without a name;
   -1 on error. */
static int
make_notes (SnapGuard *self, const SnapGuardGuest *guest, GError **error)
{
  gboolean given = guest != NULL && guest->notes_fd >= 0;
  snap_autofd int fd = given ? fcntl (guest->notes_fd, F_DUPFD_CLOEXEC, 0)
                             : memfd_create ("notes", MFD_CLOEXEC);
  void *page = MAP_FAILED;

  if (fd >= 0 && (given || ftruncate (fd, sizeof *self->notes) == 0))
    page = mmap (NULL, sizeof *self->notes, PROT_READ | PROT_WRITE, MAP_SHARED,
                 fd, 0);
  if (page == MAP_FAILED) {
    snap_error_set_errno (error, errno, "guard: notes");
    return -1;
  }
  self->notes = page;
  return snap_fd_steal (&fd);
}

SnapGuestTrouble
snap_guard_read_notes (int notes_fd)
{
  GuardNotes notes;
  guint what;

  if (pread (notes_fd, &notes, sizeof notes, 0) != sizeof notes)
    return SNAP_GUEST_STOPPED | SNAP_GUEST_FROZEN;
  what = notes.quiet;
  return ((what & QMP_QUIET_STOPPED) != 0 ? SNAP_GUEST_STOPPED : 0)
         | ((what & QMP_QUIET_FROZEN) != 0 ? SNAP_GUEST_FROZEN : 0);
}

/* A copy for as long as we live, or /dev/null where there is no connection. */
static gboolean
copy_fd (int fd, int *copy, GError **error)
{
  *copy = fd >= 0 ? fcntl (fd, F_DUPFD_CLOEXEC, 0)
                  : open ("/dev/null", O_RDWR | O_CLOEXEC);
  return *copy >= 0 || snap_error_set_errno (error, errno, "guard: connection");
}

static gboolean
launch (SnapGuard *self, int socket_fd, int window_fd, int notes_fd,
        const GArray *locks, GError **error)
{
  const char *argv[] = { program (), G_STRINGIFY (GUARD_DEADLINE_MS), NULL };
  g_autoptr (GArray) fds = g_array_new (FALSE, FALSE, sizeof (SnapChildFd));
  SnapChildSpec spec = { .argv = argv };

  add_fd (fds, STDERR_FILENO, STDERR_FILENO);
  add_fd (fds, socket_fd, GUARD_SOCKET_FD);
  add_fd (fds, window_fd, GUARD_WINDOW_FD);
  add_fd (fds, self->guest_fds[0], GUARD_QMP_FD);
  add_fd (fds, self->guest_fds[1], GUARD_AGENT_FD);
  add_fd (fds, notes_fd, GUARD_NOTES_FD);
  for (guint i = 0; i < locks->len; i++)
    add_fd (fds, g_array_index (locks, int, i), GUARD_FIRST_LOCK_FD + (int) i);
  spec.fds = (const SnapChildFd *) (gpointer) fds->data;
  spec.n_fds = fds->len;
  self->pid = snap_child_start (&spec, error);
  return self->pid > 0;
}

/* What is needed to undo it without the guard. */
static gboolean
prepare_to_undo (SnapGuard *self, const SnapWindow *window,
                 const SnapGuardGuest *guest, GError **error)
{
  for (guint i = 0; i < window->devices->len; i++)
    g_ptr_array_add (self->devices, g_strdup (window->devices->pdata[i]));
  if (window->devices->len > 0)
    snap_dm_load ();
  self->has_guest = window->has_guest;
  return copy_fd (guest != NULL ? guest->qmp_fd : -1, &self->guest_fds[0],
                  error)
         && copy_fd (guest != NULL ? guest->agent_fd : -1, &self->guest_fds[1],
                     error);
}

/* ---- its words ---- */

/* Read more; FALSE when the guard is gone or silent. */
static gboolean
receive (SnapGuard *self, SnapDeadline deadline)
{
  struct pollfd poll_fd = { .fd = self->fd, .events = POLLIN };
  char bytes[GUARD_MAX_LINE];
  gssize n;

  do
    n = poll (&poll_fd, 1, snap_deadline_left_ms (deadline));
  while (n < 0 && errno == EINTR);
  if (n < 1)
    return FALSE;
  n = read (self->fd, bytes, sizeof bytes);
  if (n <= 0)
    return FALSE;
  g_string_append_len (self->received, bytes, n);
  return TRUE;
}

/* The next line without its end, or NULL when the guard is gone or silent. */
static char *
read_line (SnapGuard *self, guint timeout_ms)
{
  SnapDeadline deadline = snap_deadline_in (timeout_ms);
  char *line;
  char *end;

  while ((end = strchr (self->received->str, '\n')) == NULL)
    if (self->received->len >= GUARD_MAX_LINE || !receive (self, deadline))
      return NULL;
  line = g_strndup (self->received->str, (gsize) (end - self->received->str));
  g_string_erase (self->received, 0, (gssize) strlen (line) + 1);
  return line;
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

  if (line != NULL && g_str_equal (line, GUARD_READY))
    return TRUE;
  if (line != NULL && take_failure (line, error))
    return FALSE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: did not start",
                         program ());
}

SnapGuard *
snap_guard_start (const SnapWindow *window, const SnapGuardGuest *guest,
                  const GArray *locks, GError **error)
{
  g_autoptr (SnapGuard) self = g_new0 (SnapGuard, 1);
  snap_autofd int window_fd = -1;
  snap_autofd int notes_fd = -1;
  snap_autofd int far_end = -1;
  int ends[2];

  self->fd = self->guest_fds[0] = self->guest_fds[1] = -1;
  self->received = g_string_new (NULL);
  self->devices = g_ptr_array_new_with_free_func (g_free);
  g_return_val_if_fail (guest != NULL || !window->has_guest, NULL);
  if (!prepare_to_undo (self, window, guest, error))
    return NULL;
  window_fd = write_window (window, error);
  if (window_fd < 0)
    return NULL;
  notes_fd = make_notes (self, guest, error);
  if (notes_fd < 0)
    return NULL;
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    snap_error_set_errno (error, errno, "guard: socket");
    return NULL;
  }
  self->fd = ends[0];
  far_end = ends[1];
  if (!launch (self, far_end, window_fd, notes_fd, locks, error))
    return NULL;
  snap_fd_clear (&far_end);
  return await_ready (self, error) ? g_steal_pointer (&self) : NULL;
}

/* ---- without it ---- */

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

static gboolean
resume_devices (SnapGuard *self, GError **error)
{
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
  return TRUE;
}

static gboolean
release_guest (SnapGuard *self, GError **error)
{
  QmpQuiet what = (QmpQuiet) g_atomic_int_get (&self->notes->quiet);
  g_autoptr (QmpClient) client = NULL;
  g_autoptr (QmpAgent) agent = NULL;
  g_autoptr (QmpGuest) guest = NULL;
  g_autoptr (GError) reason = NULL;

  if (what == 0)
    return TRUE;
  client = qmp_client_adopt (snap_fd_steal (&self->guest_fds[0]));
  if ((what & QMP_QUIET_FROZEN) != 0)
    agent = qmp_agent_adopt (snap_fd_steal (&self->guest_fds[1]));
  guest = qmp_guest_new (client, agent);
  if (qmp_guest_release (guest, what, GUARD_PATIENCE_MS, &reason))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_FROZEN,
                         "guest: may still stand still, and the guard is "
                         "gone: %s",
                         reason->message);
}

/* The guard is gone without a word, or hangs: we are the last who can let all
   run again.  TRUE if it does. */
static gboolean
take_over (SnapGuard *self, GError **error)
{
  gboolean awake;

  if (!end_it (self))
    return snap_error_set (error, SNAP_ERROR_FROZEN,
                           "guard: hangs, and %s may still stand still",
                           self->has_guest ? "the guest" : "devices");
  awake = resume_devices (self, error);
  return release_guest (self, awake ? error : NULL) && awake;
}

/* ---- the window ---- */

/* Say @word and take the answer to it, which may be there even where the
   guard is not.  NULL if all it said is an error, or if it said nothing. */
static char *
converse (SnapGuard *self, const char *word, GError **error)
{
  g_autofree char *line = NULL;

  self->is_quiet = FALSE;
  send (self->fd, word, strlen (word), MSG_NOSIGNAL);
  line = read_line (self, ANSWER_MS);
  if (line == NULL) {
    if (take_over (self, error))
      snap_error_set (error, SNAP_ERROR_FAILED, "guard: was killed; %s",
                      self->has_guest ? "all runs as before"
                                      : "all devices run again");
    return NULL;
  }
  if (g_str_has_prefix (line, GUARD_STUCK)) {
    snap_error_set (error, SNAP_ERROR_FROZEN, "%s",
                    line + strlen (GUARD_STUCK));
    return NULL;
  }
  return take_failure (line, error) ? NULL : g_steal_pointer (&line);
}

/* A guard that says what it should not is as good as stuck. */
static gboolean
misunderstand (const char *line, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_FROZEN, "guard: said '%s'", line);
}

gboolean
snap_guard_quiet (SnapGuard *self, GError **error)
{
  g_autofree char *line = NULL;

  if (!self->has_guest)
    return TRUE;
  line = converse (self, GUARD_GO "\n", error);
  if (line == NULL)
    return FALSE;
  self->is_quiet = g_str_equal (line, GUARD_QUIET);
  return self->is_quiet || misunderstand (line, error);
}

static gboolean
take_times (const char *line, SnapGuardTimes *times, GError **error)
{
  SnapGuardTimes found = { 0 };

  if (sscanf (line,
              GUARD_DONE "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
                         " %" G_GUINT64_FORMAT,
              &found.window_us, &found.stopped_us, &found.frozen_us)
      != 3)
    return misunderstand (line, error);
  found.stopped = found.stopped_us > 0;
  found.frozen = found.frozen_us > 0;
  if (times != NULL)
    *times = found;
  return TRUE;
}

gboolean
snap_guard_go (SnapGuard *self, SnapGuardTimes *times, GError **error)
{
  g_autofree char *line = NULL;

  if (!self->is_quiet && !snap_guard_quiet (self, error))
    return FALSE;
  line =
      converse (self, self->has_guest ? GUARD_CUT "\n" : GUARD_GO "\n", error);
  return line != NULL && take_times (line, times, error);
}

gboolean
snap_guard_undo (SnapGuard *self, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autofree char *line = NULL;

  if (!self->is_quiet)
    return TRUE;
  line = converse (self, GUARD_UNDO "\n", &reason);
  if (line != NULL)
    return misunderstand (line, error);
  if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_FROZEN))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&reason));
  return FALSE;
}
