/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to exports: comparisons in a process of its own, which keeps the
 * privileges that they take.
 *
 * That process trusts the first one with nothing but the choice of two points
 * of a volume that is served.
 */
#ifndef SNAP_SERVICE_EXPORT_TWIN_H
#define SNAP_SERVICE_EXPORT_TWIN_H

#include "snapshot-core/os/twin.h"
#include "snapshot-core/service/export-point.h"

/* Everything that it does is in the process that snap_twin_start() made, until
   the socket has an end.  @volumes: of SnapExportVolume. */
void snap_export_twin_run (int socket, GPtrArray *volumes);

/* Ask it whether two points of @volumes can be compared.  Errors: as
   snap_diff_check(), IO and CANCELLED. */
gboolean snap_export_twin_check (SnapTwin *twin, GPtrArray *volumes,
                                 const SnapExportPoint *from,
                                 const SnapExportPoint *to,
                                 GCancellable *cancellable, GError **error);

/*
 * Ask it for a comparison of two points of @volumes.  Fails with CANCELLED
 * soon after @cancellable is cancelled.
 *
 * Errors: as snap_diff_run(), and IO (it has ended).
 */
gboolean snap_export_twin_compare (SnapTwin *twin, GPtrArray *volumes,
                                   const SnapExportPoint *from,
                                   const SnapExportPoint *to,
                                   GCancellable *cancellable,
                                   SnapExtentFunc emit, gpointer user_data,
                                   GError **error);

#endif
