/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "guard/guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/protocol.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/device-mapper.h"

#define RETRY_MS 50

/* What the worker reports, through a pipe and in one piece. */
typedef struct {
  gboolean done;
  int code;
  guint64 window_us;
  char text[GUARD_MAX_LINE / 2];
} Verdict;

G_STATIC_ASSERT (sizeof (Verdict) <= 4096); /* PIPE_BUF */

/* ---- the worker ---- */

static void
run_worker (const SnapWindow *window, pid_t watcher, int result_fd)
{
  g_autoptr (GError) error = NULL;
  Verdict verdict = { 0 };

  verdict.done = guard_lock_memory (&error)
                 && guard_work (window, watcher, &verdict.window_us, &error);
  if (!verdict.done) {
    verdict.code = error->code;
    g_strlcpy (verdict.text, error->message, sizeof verdict.text);
  }
  if (write (result_fd, &verdict, sizeof verdict) < 0)
    _exit (1);
  _exit (0);
}

/* ---- waiting for it ---- */

/*
 * Until the worker has reported (TRUE), or has to be ended: it was killed,
 * the deadline has passed, or the owner is gone.
 */
static gboolean
await_verdict (int result_fd, SnapDeadline deadline, Verdict *verdict)
{
  struct pollfd fds[] = { { .fd = result_fd, .events = POLLIN },
                          { .fd = GUARD_SOCKET_FD, .events = POLLRDHUP } };
  int n;

  do
    n = poll (fds, G_N_ELEMENTS (fds), snap_deadline_left_ms (deadline));
  while (n < 0 && errno == EINTR);
  return n > 0 && (fds[0].revents & POLLIN) != 0
         && read (result_fd, verdict, sizeof *verdict) == sizeof *verdict;
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
end_window (const SnapWindow *window, pid_t worker, GString *asleep)
{
  SnapDeadline patience = snap_deadline_in (GUARD_PATIENCE_MS);
  gboolean gone = FALSE;

  kill (worker, SIGKILL);
  for (;;) {
    gone = gone || waitpid (worker, NULL, WNOHANG) != 0;
    if (wake (window, asleep) && gone)
      return TRUE;
    if (snap_deadline_left_ms (patience) == 0)
      return FALSE;
    g_usleep (RETRY_MS * 1000);
  }
}

static void
answer (const SnapWindow *window, pid_t worker, const Verdict *verdict)
{
  g_autoptr (GString) asleep = g_string_new (NULL);

  if (verdict != NULL && verdict->done) {
    waitpid (worker, NULL, 0);
    guard_say (GUARD_DONE "%" G_GUINT64_FORMAT, verdict->window_us);
  }
  else if (!end_window (window, worker, asleep))
    guard_say (GUARD_STUCK "%s: may still be suspended",
               asleep->len > 0 ? asleep->str : "a device");
  else if (verdict != NULL)
    guard_say (GUARD_FAILED "%d %s", verdict->code, verdict->text);
  else
    guard_say (GUARD_FAILED "%d guard: the window was ended after its "
                            "deadline; all devices run again",
               SNAP_ERROR_FAILED);
}

void
guard_watch (const SnapWindow *window, guint deadline_ms)
{
  SnapDeadline deadline = snap_deadline_in (deadline_ms);
  Verdict verdict;
  pid_t watcher = getpid ();
  pid_t worker;
  int ends[2];

  if (pipe (ends) < 0 || (worker = fork ()) < 0) {
    guard_say (GUARD_FAILED "%d guard: %s", SNAP_ERROR_IO, g_strerror (errno));
    return;
  }
  if (worker == 0) {
    close (ends[0]);
    run_worker (window, watcher, ends[1]);
  }
  close (ends[1]);
  answer (window, worker,
          await_verdict (ends[0], deadline, &verdict) ? &verdict : NULL);
}
