/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The owner's side of nbdsnap-guard, the process that suspends devices and
 * answers for their resume; see guard/protocol.h.
 */
#ifndef SNAP_SERVICE_GUARD_H
#define SNAP_SERVICE_GUARD_H

#include "snapshot-core/base/window.h"

typedef struct _SnapGuard SnapGuard;

/*
 * Start a guard for @window and wait until it is ready.  Nothing is suspended
 * yet; freeing it changes nothing.
 *
 * It keeps copies of the descriptors @locks, and with them their locks, until
 * it ends: should we be killed, nobody may finish or begin anything on these
 * volumes while it is at work.
 *
 * Errors: UNSUPPORTED (no guard, or no device mapper), BUSY (a device is
 * suspended by somebody else), NOT_FOUND (a device), IO.
 */
SnapGuard *snap_guard_start (const SnapWindow *window, const GArray *locks,
                             GError **error);
void snap_guard_free (SnapGuard *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapGuard, snap_guard_free)

/*
 * Carry out the window and wait for its end, which comes soon after the
 * deadline at the latest.  Only once.
 *
 * Errors: FROZEN (devices may still be suspended), or why it failed: then
 * all devices run again.
 */
gboolean snap_guard_go (SnapGuard *self, GError **error);

#endif
