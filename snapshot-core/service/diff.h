/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Diffs between two points, with the rules that hold whatever the driver.
 *
 * Whatever a driver emits: here it is checked to be ascending, clipped to the
 * newer size, coalesced, and bytes past the older size are made dirty.
 */
#ifndef SNAP_SERVICE_DIFF_H
#define SNAP_SERVICE_DIFF_H

#include "snapshot-core/service/hold.h"
#include "snapshot-core/service/volume.h"

typedef struct {
  SnapDiffInfo info;
  guint64 from_size, size; /* bytes */
  guint64 dirty_bytes;     /* final after the run */
  gsize n_extents;         /* final after the run */
} SnapDiffResult;

/* Both points checked for one lineage and held. */
typedef struct _SnapDiff SnapDiff;

/*
 * Get ready to compare two points.  @from_volume equals @to_volume unless two
 * volumes are compared.  References are taken on volumes, copies of points.
 * Without a @state no holds are taken: the caller has them.
 *
 * Errors: NOT_COMPARABLE, BUSY, USAGE (same point kind that cannot be a side).
 */
SnapDiff *snap_diff_new (SnapState *state, SnapVolume *from_volume,
                         const SnapPoint *from, SnapVolume *to_volume,
                         const SnapPoint *to, GError **error);
void snap_diff_free (SnapDiff *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapDiff, snap_diff_free)

const SnapPoint *snap_diff_from (SnapDiff *self);
const SnapPoint *snap_diff_to (SnapDiff *self);

/* Have a run that is under way end with CANCELLED once @cancellable, which
   may be NULL, is cancelled.  A reference is taken. */
void snap_diff_set_cancellable (SnapDiff *self, GCancellable *cancellable);

/*
 * Emit the dirty extents: flags DIRTY and perhaps ZERO, coalesced, inside
 * [0, size).  @result is complete when this returns TRUE; its sizes and
 * granularity are set before the first extent.
 *
 * Before it succeeds the identities of both points are checked again, so that
 * a point that was replaced meanwhile is NOT_COMPARABLE, not a wrong list.
 */
gboolean snap_diff_run (SnapDiff *self, SnapExtentFunc emit, gpointer user_data,
                        SnapDiffResult *result, GError **error);

/* Whether the two could be compared, without holding anything; why not is in
   the error, NOT_COMPARABLE or USAGE. */
gboolean snap_diff_check (SnapVolume *volume, const SnapPoint *from,
                          const SnapPoint *to, GError **error);

/* The same without the reason. */
gboolean snap_diff_comparable (SnapVolume *volume, const SnapPoint *from,
                               const SnapPoint *to);

const char *snap_proof_name (SnapProof proof);

#endif
