/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holds: what keeps a point from being deleted while somebody uses it.
 *
 * A hold is a shared lock on a file named by the digest of the point's
 * identity; deleting takes it exclusively.  Held points of one host and state
 * directory are protected; a storage's own locks may protect more.
 */
#ifndef SNAP_SERVICE_HOLD_H
#define SNAP_SERVICE_HOLD_H

#include "snapshot-core/service/state.h"

typedef struct _SnapHold SnapHold;

typedef enum {
  SNAP_HOLD_USE,    /* many may */
  SNAP_HOLD_DELETE, /* nobody else may hold it */
} SnapHoldMode;

/* Makes the state directory.  A hold on EMPTY holds nothing.  Errors: BUSY
   ("VOLUME@NAME: held by another user of it"), IO. */
SnapHold *snap_hold_take (SnapState *state, const SnapVolume *volume,
                          const SnapPoint *point, SnapHoldMode mode,
                          GError **error);

/* Remove what is left of holders that died.  What cannot be removed stays. */
void snap_holds_sweep (SnapState *state);

/* Whether somebody holds @point now: *held.  Holds nothing, makes nothing, and
   is in nobody's way.  Errors: IO. */
gboolean snap_hold_probe (SnapState *state, const SnapVolume *volume,
                          const SnapPoint *point, gboolean *held,
                          GError **error);

/* Be the only one who creates or deletes on @volume.  Errors: BUSY, IO. */
SnapHold *snap_hold_take_volume (SnapState *state, const SnapVolume *volume,
                                 GError **error);

/* The descriptor whose lock it is; -1 if nothing is held. */
int snap_hold_lock_fd (const SnapHold *self);

void snap_hold_release (SnapHold *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapHold, snap_hold_release)

#endif
