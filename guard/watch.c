/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/guard.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/device-mapper.h"

#define RETRY_MS 50

/* How much of our patience devices may take before the guest's turn comes. */
#define DEVICES_MS (GUARD_PATIENCE_MS / 3)

/* What the worker reports, through a pipe and in one piece. */
typedef struct {
  gboolean done;
  int code;
  GuardTimes times;
  char text[GUARD_MAX_LINE / 2];
} Verdict;

G_STATIC_ASSERT (sizeof (Verdict) <= 4096); /* PIPE_BUF */

/* Why the worker was ended, if it was. */
typedef enum {
  REPORTED, /* it has done what it could */
  KILLED,
  LATE,
  ABANDONED, /* by the owner */
} Ending;

static const char *const ending_texts[] = {
  [KILLED] = "half of it was killed",
  [LATE] = "the window was ended after its deadline",
  [ABANDONED] = "its owner is gone",
};

/* ---- the worker ---- */

static void
run_worker (const GuardWorker *worker, int result_fd)
{
  g_autoptr (GError) error = NULL;
  Verdict verdict = { 0 };

  verdict.done = guard_lock_memory (worker->task->window, &error)
                 && guard_work (worker, &verdict.times, &error);
  if (!verdict.done) {
    verdict.code = error->code;
    g_strlcpy (verdict.text, error->message, sizeof verdict.text);
  }
  if (write (result_fd, &verdict, sizeof verdict) < 0)
    _exit (1);
  _exit (0);
}

/* ---- waiting for it ---- */

static Ending
await_verdict (int result_fd, SnapDeadline deadline, Verdict *verdict)
{
  struct pollfd fds[] = { { .fd = result_fd, .events = POLLIN },
                          { .fd = GUARD_SOCKET_FD, .events = POLLRDHUP } };
  int n;

  do
    n = poll (fds, G_N_ELEMENTS (fds), snap_deadline_left_ms (deadline));
  while (n < 0 && errno == EINTR);
  if (n == 0)
    return LATE;
  if (fds[0].revents == 0)
    return ABANDONED;
  return read (result_fd, verdict, sizeof *verdict) == sizeof *verdict
             ? REPORTED
             : KILLED;
}

/* ---- ending it ---- */

/* Resume what is suspended; TRUE if nothing is any more. */
static gboolean
wake (const SnapWindow *window, GString *asleep)
{
  g_string_truncate (asleep, 0);
  for (guint i = 0; i < window->devices->len; i++) {
    const char *device = window->devices->pdata[i];
    SnapDmInfo info = { .suspended = TRUE };

    if (snap_dm_info (device, &info, NULL) && !info.suspended)
      continue;
    if (snap_dm_resume (device, NULL) && snap_dm_info (device, &info, NULL)
        && !info.suspended)
      continue;
    g_string_append_printf (asleep, "%s%s", asleep->len > 0 ? ", " : "",
                            device);
  }
  return asleep->len == 0;
}

/* A worker inside a call that cannot be interrupted may suspend one device
   more: it is over when the worker is gone and nothing is suspended. */
static gboolean
wake_all (const SnapWindow *window, pid_t worker, SnapDeadline deadline,
          GString *asleep)
{
  gboolean gone = FALSE;

  for (;;) {
    gone = gone || waitpid (worker, NULL, WNOHANG) != 0;
    if (wake (window, asleep) && gone)
      return TRUE;
    if (snap_deadline_left_ms (deadline) == 0)
      return FALSE;
    g_usleep (RETRY_MS * 1000);
  }
}

/* Killed, the worker reads nothing any more, even where it is not gone yet. */
static gboolean
release_guest (const GuardTask *task, SnapDeadline deadline, GString *asleep)
{
  g_autoptr (GuardGuest) guest = NULL;
  g_autoptr (GError) error = NULL;
  GuardTimes times;

  if (g_atomic_int_get (&task->notes->quiet) == 0)
    return TRUE;
  guest = guard_guest_open (task);
  if (guard_guest_let_go (guest, deadline, &times, &error))
    return TRUE;
  g_string_append_printf (asleep, "%s%s", asleep->len > 0 ? "; " : "",
                          error->message);
  return FALSE;
}

static gboolean
end_window (const GuardTask *task, pid_t worker, GString *asleep)
{
  SnapDeadline patience = snap_deadline_in (GUARD_PATIENCE_MS);
  g_autoptr (GString) deaf = g_string_new (NULL);
  gboolean awake;
  gboolean loose;

  kill (worker, SIGKILL);
  awake =
      wake_all (task->window, worker, snap_deadline_in (DEVICES_MS), asleep);
  loose = release_guest (task, patience, deaf);
  awake = awake || wake_all (task->window, worker, patience, asleep);
  g_string_append_printf (asleep, "%s%s", asleep->len > 0 ? "; " : "",
                          deaf->str);
  return awake && loose;
}

static void
answer (const GuardTask *task, pid_t worker, Ending ending,
        const Verdict *verdict)
{
  g_autoptr (GString) asleep = g_string_new (NULL);

  if (ending == REPORTED && verdict->done) {
    waitpid (worker, NULL, 0);
    guard_say (GUARD_DONE "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
                          " %" G_GUINT64_FORMAT,
               verdict->times.window_us, verdict->times.stopped_us,
               verdict->times.frozen_us);
  }
  else if (!end_window (task, worker, asleep))
    guard_say (GUARD_STUCK "%s: may still stand still",
               asleep->len > 0 ? asleep->str : "a device");
  else if (ending == REPORTED)
    guard_say (GUARD_FAILED "%d %s", verdict->code, verdict->text);
  else
    guard_say (GUARD_FAILED "%d guard: %s; %s", SNAP_ERROR_FAILED,
               ending_texts[ending],
               task->window->has_guest ? "all runs as before"
                                       : "all devices run again");
}

void
guard_watch (const GuardTask *task, guint deadline_ms)
{
  GuardWorker worker = { .task = task, .watcher = getpid () };
  Verdict verdict;
  Ending ending;
  pid_t pid;
  int ends[2];

  /* A quarter is for the worker to undo it all by itself. */
  worker.deadline = snap_deadline_in (deadline_ms);
  worker.give_up = snap_deadline_in (deadline_ms - deadline_ms / 4);
  if (pipe (ends) < 0 || (pid = fork ()) < 0) {
    guard_say (GUARD_FAILED "%d guard: %s", SNAP_ERROR_IO, g_strerror (errno));
    return;
  }
  if (pid == 0) {
    close (ends[0]);
    worker.watcher_fd = ends[1];
    run_worker (&worker, ends[1]);
  }
  close (ends[1]);
  ending = await_verdict (ends[0], worker.deadline, &verdict);
  answer (task, pid, ending, &verdict);
}
