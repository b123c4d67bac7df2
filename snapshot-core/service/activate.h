/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots as files or devices that any program reads.
 */
#ifndef SNAP_SERVICE_ACTIVATE_H
#define SNAP_SERVICE_ACTIVATE_H

#include "snapshot-core/service/state.h"
#include "snapshot-core/service/volume.h"

/*
 * The path where the bytes of @point can be read as they are; the caller
 * frees.  NULL if there is none now.
 */
char *snap_point_path (SnapVolume *volume, const SnapPoint *point);

/*
 * Have such a path until snap_point_deactivate(), also when this process is
 * gone, and return it; the caller frees.  Where there always is one, the two
 * change nothing.
 *
 * Errors: UNSUPPORTED (the bytes lie nowhere as they are), NOT_FOUND, BUSY (it
 * is being deleted, or read), IO.
 */
char *snap_point_activate (SnapState *state, SnapVolume *volume,
                           const SnapPoint *point, GError **error);
gboolean snap_point_deactivate (SnapState *state, SnapVolume *volume,
                                const SnapPoint *point, GError **error);

#endif
