/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A user's own commands around the cut of a set: one that brings what writes
 * to the volumes into good order before, and one that lets it go on after.
 *
 * They are run by `sh -c`, and nothing of ours goes into their text: what
 * they are told stands in the environment.
 */
#ifndef SNAP_SERVICE_HOOKS_H
#define SNAP_SERVICE_HOOKS_H

#include <gio/gio.h>

typedef struct {
  const char *pre_cut, *post_cut; /* shell commands, or NULL */
  guint timeout_ms;               /* for each of them */
} SnapHooks;

/* How the cut ended, for the command after it. */
typedef enum {
  SNAP_HOOK_COMPLETE,    /* the set will be there */
  SNAP_HOOK_FAILED,      /* it will not */
  SNAP_HOOK_INTERRUPTED, /* nor this one */
} SnapHookOutcome;

/*
 * Run one of the commands to its end; without it, or without @hooks, there is
 * nothing to do.  The first can be cancelled, the second cannot.
 *
 * What a command prints goes to our standard error.  One that is late or
 * cancelled is ended with all that it has started.
 *
 * Errors: FAILED (it exited with non-zero, was killed or late), CANCELLED,
 * UNSUPPORTED (there is no shell), IO.
 */
gboolean snap_hooks_run_pre_cut (const SnapHooks *hooks, const char *set_id,
                                 const char *name, GCancellable *cancellable,
                                 GError **error);
gboolean snap_hooks_run_post_cut (const SnapHooks *hooks, const char *set_id,
                                  const char *name, SnapHookOutcome outcome,
                                  GError **error);

#endif
