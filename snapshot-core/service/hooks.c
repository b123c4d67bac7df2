/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/hooks.h"

#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/child.h"
#include "snapshot-core/os/deadline.h"

/* How often to look whether somebody has cancelled. */
#define LOOK_MS 50

/* One command to run. */
typedef struct {
  const char *hook; /* what it is called */
  const char *text;
  guint timeout_ms;
  GCancellable *cancellable; /* or NULL */
} Command;

/* The caller frees. */
static char **
make_environment (const char *hook, const char *set_id, const char *name,
                  const char *outcome)
{
  char **made = g_get_environ ();

  made = g_environ_setenv (made, "NBDSNAP_HOOK", hook, TRUE);
  made = g_environ_setenv (made, "NBDSNAP_SET", set_id, TRUE);
  made = g_environ_setenv (made, "NBDSNAP_NAME", name, TRUE);
  return outcome != NULL
             ? g_environ_setenv (made, "NBDSNAP_OUTCOME", outcome, TRUE)
             : g_environ_unsetenv (made, "NBDSNAP_OUTCOME");
}

/* Standard output is for what we say ourselves. */
static pid_t
start (const Command *self, char **environment, GError **error)
{
  const char *argv[] = { "sh", "-c", self->text, NULL };
  const SnapChildFd fds[] = { { STDERR_FILENO, STDOUT_FILENO },
                              { STDERR_FILENO, STDERR_FILENO } };
  const SnapChildSpec spec = { .argv = argv,
                               .fds = fds,
                               .n_fds = G_N_ELEMENTS (fds),
                               .environment =
                                   (const char *const *) environment };
  pid_t pid = snap_child_start (&spec, error);

  if (pid < 0)
    g_prefix_error (error, "%s: ", self->hook);
  return pid;
}

/* Until it has ended, is late, or somebody has cancelled. */
static gboolean
await_end (const Command *self, pid_t pid, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (self->timeout_ms);
  int left_ms = snap_deadline_left_ms (deadline);

  while (!snap_child_wait (pid, (guint) MIN (left_ms, LOOK_MS))) {
    if (g_cancellable_is_cancelled (self->cancellable))
      return snap_error_set (error, SNAP_ERROR_CANCELLED, "%s: interrupted",
                             self->hook);
    left_ms = snap_deadline_left_ms (deadline);
    if (left_ms == 0)
      return snap_error_set (error, SNAP_ERROR_FAILED,
                             "%s: still running after %.1f s", self->hook,
                             self->timeout_ms / 1000.0);
  }
  return TRUE;
}

static gboolean
run (const Command *self, char **environment, GError **error)
{
  g_autofree char *how = NULL;
  pid_t pid = start (self, environment, error);
  gboolean ended;
  int status;

  if (pid < 0)
    return FALSE;
  ended = await_end (self, pid, error);
  status = snap_child_reap (pid, 0);
  if (!ended || status == 0)
    return ended;
  how = snap_child_status_text (status);
  return snap_error_set (error, SNAP_ERROR_FAILED, "%s: %s", self->hook, how);
}

gboolean
snap_hooks_run_pre_cut (const SnapHooks *hooks, const char *set_id,
                        const char *name, GCancellable *cancellable,
                        GError **error)
{
  g_auto (GStrv) environment = NULL;
  Command command = { "pre-cut", NULL, 0, cancellable };

  if (hooks == NULL || hooks->pre_cut == NULL)
    return TRUE;
  command.text = hooks->pre_cut;
  command.timeout_ms = hooks->timeout_ms;
  environment = make_environment (command.hook, set_id, name, NULL);
  return run (&command, environment, error);
}

gboolean
snap_hooks_run_post_cut (const SnapHooks *hooks, const char *set_id,
                         const char *name, SnapHookOutcome outcome,
                         GError **error)
{
  static const char *const words[] = {
    [SNAP_HOOK_COMPLETE] = "complete",
    [SNAP_HOOK_FAILED] = "failed",
    [SNAP_HOOK_INTERRUPTED] = "interrupted",
  };
  g_auto (GStrv) environment = NULL;
  Command command = { "post-cut", NULL, 0, NULL };

  if (hooks == NULL || hooks->post_cut == NULL)
    return TRUE;
  command.text = hooks->post_cut;
  command.timeout_ms = hooks->timeout_ms;
  environment = make_environment (command.hook, set_id, name, words[outcome]);
  return run (&command, environment, error);
}
