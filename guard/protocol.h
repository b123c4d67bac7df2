/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the guard is spoken to.
 *
 * Started with a stream socket to its owner, a file with the window as
 * snap_window_format() writes it, the connections to the guest's monitor and
 * agent (or /dev/null), and a page of memory that it shares with its owner;
 * others it holds for as long as it lives, for the locks on them.
 *
 * The connections are handed on like a baton: the monitor was negotiated by
 * the owner, who keeps a copy of each and is silent for as long as the guard
 * lives.
 *
 * One line each way a step:
 *
 *   guard   ready            everything is checked, locked into memory and
 *                            open; nothing has been touched
 *   owner   go               from here on nobody needs to wait for the owner
 *
 * and then, where there is a guest,
 *
 *   guard   quiet            it stands still, as the window says
 *   owner   cut              what the owner had to cut meanwhile is cut
 *           undo             all is to be as before, without the rest
 *
 * and at the end
 *
 *   guard   done WINDOW_US STOPPED_US FROZEN_US    all was sent, all runs
 *           failed CODE TEXT           something was not; all runs
 *           stuck TEXT                 this may still stand still
 *
 * WINDOW_US is from "go" to the end, STOPPED_US from the stop of the guest
 * until it was continued, FROZEN_US from its freeze until it was seen thawed;
 * 0 where it was not, or not until the end.  CODE is a number of SnapError.
 * "failed" may come instead of "ready" and of "quiet", "stuck" instead of the
 * latter; it is the answer to "undo", too.
 *
 * An owner that goes away before "go" has changed nothing; one that goes away
 * later, or is silent, cannot keep anything still.
 */
#ifndef GUARD_PROTOCOL_H
#define GUARD_PROTOCOL_H

#include <glib.h>

#define GUARD_SOCKET_FD 3
#define GUARD_WINDOW_FD 4
#define GUARD_QMP_FD 5
#define GUARD_AGENT_FD 6
#define GUARD_NOTES_FD 7

/* From here on the guard may be given more, which it keeps open. */
#define GUARD_FIRST_LOCK_FD 8

/* nbdsnap-guard DEADLINE_MS */
#define GUARD_PROGRAM "nbdsnap-guard"
#define GUARD_DEADLINE_MS 10000
#define GUARD_MAX_DEADLINE_MS (10 * 60 * 1000)

/* How long the guard goes on trying to resume past its deadline. */
#define GUARD_PATIENCE_MS 30000

#define GUARD_MAX_LINE 1024

#define GUARD_READY "ready"
#define GUARD_GO "go"
#define GUARD_QUIET "quiet"
#define GUARD_CUT "cut"
#define GUARD_UNDO "undo"
#define GUARD_DONE "done "
#define GUARD_FAILED "failed "
#define GUARD_STUCK "stuck "

/*
 * The page of memory: what may have been done to the guest.  Whichever of the
 * guard's two processes and the owner is the last one left reads here what it
 * has to undo.
 */
typedef struct {
  guint quiet; /* of QmpQuiet, atomic: set before the command is sent, cleared
                 when it was seen to be undone */
} GuardNotes;

#endif
