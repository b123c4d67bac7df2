/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"

/* From SIGTERM to SIGKILL. */
#define GRACE_MS 1000

/* How long to sleep between two looks at a child: most that are waited for
   have all but ended.  (A pidfd would need no naps, but valgrind and some
   sandboxes do not know it.) */
#define FIRST_NAP_US 100
#define LAST_NAP_US 20000

/* No wait status has this value: somebody else reaped the child. */
#define STATUS_UNKNOWN (-1)

/*
 * All that the child needs, made before the fork: what was forked from a
 * process with threads may only make async-signal-safe calls, which leaves
 * out malloc.
 */
typedef struct {
  char *path; /* the program, found */
  const char *const *argv;
  char **envp;
  char *pid_digits; /* in envp: where the child writes its pid, or NULL */
  SnapChildFd *fds; /* with the defaults of 0, 1 and 2 */
  gsize n_fds;
  guint first_spare; /* above every child_fd */
  int report_fd;     /* takes an errno if the program cannot be started */
  pid_t mortal_of;   /* our pid if the child is to end with us, or 0 */
} Launch;

static void
launch_clear (Launch *self)
{
  g_free (self->path);
  g_strfreev (self->envp);
  g_free (self->fds);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Launch, launch_clear)

/* ---- before the fork ---- */

/* Ten digits: room for any pid. */
#define PID_PLACEHOLDER "0000000000"

static void
prepare_environment (Launch *self, const char *const *given, guint listen_fds)
{
  self->envp = given != NULL
                   ? g_strdupv ((char **) given)
                   : g_environ_setenv (g_get_environ (), "LC_ALL", "C", TRUE);

  /* What whoever started us may have passed to us is not the child's. */
  self->envp = g_environ_unsetenv (self->envp, "LISTEN_FDS");
  self->envp = g_environ_unsetenv (self->envp, "LISTEN_PID");
  self->envp = g_environ_unsetenv (self->envp, "LISTEN_FDNAMES");
  if (listen_fds > 0) {
    g_autofree char *n = g_strdup_printf ("%u", listen_fds);

    self->envp = g_environ_setenv (self->envp, "LISTEN_FDS", n, TRUE);
    self->envp =
        g_environ_setenv (self->envp, "LISTEN_PID", PID_PLACEHOLDER, TRUE);
  }
  for (char **entry = self->envp; *entry != NULL; entry++) {
    if (g_str_has_prefix (*entry, "LISTEN_PID="))
      self->pid_digits = *entry + strlen ("LISTEN_PID=");
  }
}

static gboolean
names_child_fd (const SnapChildSpec *spec, int child_fd)
{
  for (gsize i = 0; i < spec->n_fds; i++) {
    if (spec->fds[i].child_fd == child_fd)
      return TRUE;
  }
  return FALSE;
}

static void
prepare_fds (Launch *self, const SnapChildSpec *spec, int null_fd)
{
  self->fds = g_new (SnapChildFd, spec->n_fds + 3);
  self->first_spare = 3;
  for (gsize i = 0; i < spec->n_fds; i++) {
    guint above = (guint) spec->fds[i].child_fd + 1;

    self->fds[self->n_fds++] = spec->fds[i];
    self->first_spare = MAX (self->first_spare, above);
  }
  for (int fd = 0; fd < 3; fd++) {
    if (!names_child_fd (spec, fd))
      self->fds[self->n_fds++] = (SnapChildFd){ null_fd, fd };
  }
}

static gboolean
no_such_program (const char *program, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: no such program",
                         program);
}

static gboolean
prepare_program (Launch *self, const char *const *argv, GError **error)
{
  self->argv = argv;
  self->path = g_find_program_in_path (argv[0]);
  return self->path != NULL || no_such_program (argv[0], error);
}

/* ---- in the child: async-signal-safe calls only ---- */

static void
write_digits (char *digits, pid_t pid)
{
  char reversed[sizeof PID_PLACEHOLDER];
  gsize n = 0;

  for (; pid > 0; pid /= 10)
    reversed[n++] = (char) ('0' + pid % 10);
  while (n > 0)
    *digits++ = reversed[--n];
  *digits = '\0';
}

/* No handler of ours may run in the child, nor may it inherit that we ignore
   a signal.  All signals are blocked until this has been done. */
static void
reset_signals (void)
{
  struct sigaction by_default = { .sa_handler = SIG_DFL };
  sigset_t none;

  for (int number = 1; number < NSIG; number++)
    sigaction (number, &by_default, NULL);
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
}

static gboolean
move_up (int *fd, guint above)
{
  *fd = fcntl (*fd, F_DUPFD_CLOEXEC, (int) above);
  return *fd >= 0;
}

/* FALSE if whom it should end with is gone already. */
static gboolean
end_with_parent (pid_t parent)
{
  return prctl (PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid () == parent;
}

/* Descriptors go up first, since one's place may be where another one is
   now; then everything low is closed, and all that is high closes by itself
   when the program starts. */
static gboolean
place_fds (Launch *self)
{
  int report_fd = self->report_fd;

  if (!move_up (&report_fd, self->first_spare))
    return FALSE;
  self->report_fd = report_fd;
  for (gsize i = 0; i < self->n_fds; i++) {
    if (!move_up (&self->fds[i].parent_fd, self->first_spare))
      return FALSE;
  }
  if (close_range (0, self->first_spare - 1, 0) < 0
      || close_range (self->first_spare, G_MAXUINT, CLOSE_RANGE_CLOEXEC) < 0)
    return FALSE;
  for (gsize i = 0; i < self->n_fds; i++) {
    if (dup2 (self->fds[i].parent_fd, self->fds[i].child_fd) < 0)
      return FALSE;
  }
  return TRUE;
}

static G_NORETURN void
become_program (Launch *self)
{
  gssize ignored;
  int failure;

  setpgid (0, 0);
  if (self->mortal_of > 0 && !end_with_parent (self->mortal_of))
    _exit (127);
  if (self->pid_digits != NULL)
    write_digits (self->pid_digits, getpid ());
  if (place_fds (self)) {
    reset_signals ();
    execve (self->path, (char *const *) self->argv, self->envp);
  }
  failure = errno;
  ignored = write (self->report_fd, &failure, sizeof failure);
  (void) ignored;
  _exit (127);
}

/* ---- in the parent ---- */

static pid_t
fork_program (Launch *launch)
{
  sigset_t all, before;
  int saved;
  pid_t pid;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  pid = fork ();
  if (pid == 0)
    become_program (launch);
  saved = errno;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  errno = saved;
  return pid;
}

/* The pipe closes when the program starts, or carries why it did not. */
static int
read_report (int fd)
{
  int failure = 0;
  gssize n;

  do
    n = read (fd, &failure, sizeof failure);
  while (n < 0 && errno == EINTR);
  return n == (gssize) sizeof failure ? failure : 0;
}

static int
collect_status (pid_t pid)
{
  int status = STATUS_UNKNOWN;

  while (waitpid (pid, &status, 0) < 0 && errno == EINTR)
    ;
  return status;
}

/* Returns 0 when the program runs, otherwise the errno of the failure. */
static int
launch_failure (pid_t pid, int report_fd)
{
  int failure = read_report (report_fd);

  if (failure != 0)
    collect_status (pid);
  return failure;
}

pid_t
snap_child_start (const SnapChildSpec *spec, GError **error)
{
  g_auto (Launch) launch = { 0 };
  snap_autofd int null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
  snap_autofd int report_fd = -1, childs_report_fd = -1;
  int ends[2], failure;
  pid_t pid;

  if (null_fd < 0 || pipe2 (ends, O_CLOEXEC) < 0) {
    snap_error_set_errno (error, errno, "%s", spec->argv[0]);
    return -1;
  }
  report_fd = ends[0];
  launch.report_fd = childs_report_fd = ends[1];
  if (!prepare_program (&launch, spec->argv, error))
    return -1;
  prepare_environment (&launch, spec->environment, spec->listen_fds);
  prepare_fds (&launch, spec, null_fd);
  launch.mortal_of = spec->ends_with_thread ? getpid () : 0;

  pid = fork_program (&launch);
  if (pid < 0) {
    snap_error_set_errno (error, errno, "%s: fork", spec->argv[0]);
    return -1;
  }
  snap_fd_clear (&childs_report_fd);
  failure = launch_failure (pid, report_fd);
  if (failure == 0)
    return pid;
  if (failure == ENOENT)
    no_such_program (spec->argv[0], error);
  else
    snap_error_set_errno (error, failure, "%s", spec->argv[0]);
  return -1;
}

/* TRUE also if somebody else has reaped it. */
static gboolean
has_ended (pid_t pid)
{
  siginfo_t info = { 0 };

  if (waitid (P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
    return TRUE;
  return info.si_pid == pid;
}

gboolean
snap_child_wait (pid_t pid, guint timeout_ms)
{
  SnapDeadline deadline = snap_deadline_in (timeout_ms);
  gulong nap_us = FIRST_NAP_US;

  while (!has_ended (pid)) {
    if (snap_deadline_left_ms (deadline) == 0)
      return FALSE;
    g_usleep (nap_us);
    nap_us = MIN (nap_us * 2, LAST_NAP_US);
  }
  return TRUE;
}

int
snap_child_reap (pid_t pid, guint timeout_ms)
{
  if (!snap_child_wait (pid, timeout_ms)) {
    kill (-pid, SIGTERM);
    snap_child_wait (pid, GRACE_MS);
    kill (-pid, SIGKILL);
  }
  return collect_status (pid);
}

char *
snap_child_status_text (int wait_status)
{
  if (WIFEXITED (wait_status))
    return g_strdup_printf ("exited with %d", WEXITSTATUS (wait_status));
  if (WIFSIGNALED (wait_status))
    return g_strdup_printf ("was killed by signal %d (%s)",
                            WTERMSIG (wait_status),
                            g_strsignal (WTERMSIG (wait_status)));
  return g_strdup ("ended in an unknown way");
}
