/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A part of a file, compared in two snapshots; parts can be compared at the
 * same time.  Belongs to btrfs-diff.h, which says what can be left out.
 */
#ifndef SNAP_FORMAT_BTRFS_PART_H
#define SNAP_FORMAT_BTRFS_PART_H

#include "snapshot-core/format/btrfs-diff.h"

/*
 * The part [start, end).  A candidate belongs to the part that it begins in,
 * with all its bytes below the limit.
 */
typedef struct {
  const SnapBtrfsDiff *diff;
  SnapBtrfsMap *from, *to; /* of this part alone while it is compared */
  guint64 start, end, limit;
  gboolean is_grown; /* the older point had nothing here: all is dirty */

  /* What was found, not aligned to anything yet. */
  SnapExtents *dirty;

  SnapExtents *seen; /* where candidates were compared */

  /* Of what was compared, be it dirty or not. */
  guint64 from_allocated, to_allocated; /* bytes */
  gboolean saw_inline;
} SnapBtrfsPart;

/* Walk all extents of both sides.  Errors: CORRUPT, the maps'. */
gboolean snap_btrfs_part_compare_all (SnapBtrfsPart *self, GError **error);

/* Look at the candidates only. */
gboolean snap_btrfs_part_compare_since (SnapBtrfsPart *self, GError **error);

/* After that was done for all parts, look for what is missing beside the
   candidates. */
gboolean snap_btrfs_part_compare_beside (SnapBtrfsPart *self, GError **error);

#endif
