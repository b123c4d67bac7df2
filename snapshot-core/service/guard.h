/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The owner's side of nbdsnap-guard, the process that freezes and stops a
 * guest, suspends devices, and answers for their release; see
 * guard/protocol.h.  Should it be killed, what it did is undone here.
 */
#ifndef SNAP_SERVICE_GUARD_H
#define SNAP_SERVICE_GUARD_H

#include "snapshot-core/base/window.h"

typedef struct _SnapGuard SnapGuard;

/* Connections to a guest's monitor, which was negotiated, and to its agent,
   and a file for the notes: borrowed, -1 where there is none. */
typedef struct {
  int qmp_fd, agent_fd;
  int notes_fd; /* at least a page, of zeroes; see snap_guard_read_notes() */
} SnapGuardGuest;

/* What was, or may have been, done to a guest and not undone. */
typedef enum {
  SNAP_GUEST_STOPPED = 1 << 0,
  SNAP_GUEST_FROZEN = 1 << 1,
} SnapGuestTrouble;

/* What a guard that is gone has noted down in its file; all of it if that
   cannot be read. */
SnapGuestTrouble snap_guard_read_notes (int notes_fd);

/*
 * Start a guard for @window and wait until it is ready.  Nothing stands still
 * yet; freeing it changes nothing.
 *
 * @guest may be NULL if the window has none.  Its connections are the guard's
 * until that is freed: nobody else may write to or read from any copy of them.
 * Whoever does so later finds what the guard may have left, half a line if it
 * was killed: qmp_client_adopt() skips that.
 *
 * It keeps copies of the descriptors @locks, and with them their locks, until
 * it ends: should we be killed, nobody may finish or begin anything on these
 * volumes while it is at work.
 *
 * Errors: UNSUPPORTED (no guard, no device mapper, or an agent that cannot),
 * BUSY (a device is suspended, the guest frozen, stopped or continued by
 * somebody else), NOT_FOUND (a device), IO, FAILED (the guest does not
 * answer).
 */
SnapGuard *snap_guard_start (const SnapWindow *window,
                             const SnapGuardGuest *guest, const GArray *locks,
                             GError **error);

/* Undoes what was not ended. */
void snap_guard_free (SnapGuard *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapGuard, snap_guard_free)

/*
 * Freeze and stop the guest, as the window says; then the caller makes its
 * cuts, and goes on with snap_guard_go() or snap_guard_undo() before the
 * guard's deadline undoes it.  Without a guest nothing is done.
 *
 * Errors: FROZEN (it may stand still), or why it failed: then all runs as
 * before.
 */
gboolean snap_guard_quiet (SnapGuard *self, GError **error);

typedef struct {
  guint64 window_us;  /* until all ran again */
  guint64 stopped_us; /* from the stop of the guest to its end */
  guint64 frozen_us;  /* from the freeze until it was seen thawed */
  gboolean stopped;   /* by us; it may have stood still before */
  gboolean frozen;    /* to the end: some guests thaw by themselves */
} SnapGuardTimes;

/*
 * Carry out the window, or what is left of it after snap_guard_quiet(), and
 * wait for its end, which comes soon after the deadline at the latest.  Only
 * once.  @times may be NULL.
 *
 * Errors: FROZEN (devices or the guest may still stand still), or why it
 * failed: then all runs as before.
 */
gboolean snap_guard_go (SnapGuard *self, SnapGuardTimes *times, GError **error);

/*
 * Instead of snap_guard_go(): let the guest go without the rest, and see that
 * it went.  Errors: FROZEN.
 */
gboolean snap_guard_undo (SnapGuard *self, GError **error);

#endif
