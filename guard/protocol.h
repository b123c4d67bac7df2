/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the guard is spoken to.
 *
 * Started with two descriptors: a stream socket to its owner, and a file with
 * the window as snap_window_format() writes it; others it holds for as long as
 * it lives, for the locks on them.  One line each way a step:
 *
 *   guard   ready            everything is checked, locked into memory and
 *                            open; nothing has been touched
 *   owner   go               from here on nobody needs to wait for the owner
 *   guard   done MICROSECONDS          all was sent, all devices run again
 *           failed CODE TEXT           something was not; all devices run again
 *           stuck TEXT                 these devices may still be suspended
 *
 * CODE is a number of SnapError.  "failed" may come instead of "ready".  An
 * owner that goes away before "go" has changed nothing; one that goes away
 * later, or is silent, cannot keep a device suspended.
 */
#ifndef GUARD_PROTOCOL_H
#define GUARD_PROTOCOL_H

#define GUARD_SOCKET_FD 3
#define GUARD_WINDOW_FD 4

/* From here on the guard may be given more, which it keeps open. */
#define GUARD_FIRST_LOCK_FD 5

/* nbdsnap-guard DEADLINE_MS */
#define GUARD_PROGRAM "nbdsnap-guard"
#define GUARD_DEADLINE_MS 10000
#define GUARD_MAX_DEADLINE_MS (10 * 60 * 1000)

/* How long the guard goes on trying to resume past its deadline. */
#define GUARD_PATIENCE_MS 30000

#define GUARD_MAX_LINE 1024

#define GUARD_READY "ready"
#define GUARD_GO "go"
#define GUARD_DONE "done "
#define GUARD_FAILED "failed "
#define GUARD_STUCK "stuck "

#endif
