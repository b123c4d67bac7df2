/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A child that cannot outlive us, not even when we are killed.
 *
 * The kernel can end a child together with the thread that started it, so
 * the child gets a thread of its own that does nothing but live as long.
 */
#ifndef SNAP_OS_KEEPER_H
#define SNAP_OS_KEEPER_H

#include "snapshot-core/os/child.h"

typedef struct _SnapKeeper SnapKeeper;

/* Start a child as snap_child_start() does; @spec is borrowed for the call. */
SnapKeeper *snap_keeper_start (const SnapChildSpec *spec, GError **error);

pid_t snap_keeper_pid (SnapKeeper *self);

/* Reap the child as snap_child_reap() does and free @self.  Returns the wait
   status. */
int snap_keeper_end (SnapKeeper *self, guint timeout_ms);

#endif
