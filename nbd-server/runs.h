/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One context's answer in the making: ranges of an export with flags come in,
 * ascending and gapless; extents of whole blocks go out, neighbours with equal
 * flags merged.
 *
 * Of a block that several ranges share, only flags that all of them have are
 * said.  Flags are therefore such that fewer of them are always right; a flag
 * of which the absence says more (dirty) goes out inverted.
 */
#ifndef NBD_SERVER_RUNS_H
#define NBD_SERVER_RUNS_H

#include "nbd-server/protocol.h"

typedef struct {
  guint64 offset, end; /* of the request: nothing is said outside */
  guint64 block;       /* bytes */
  guint32 inverted;    /* flags that go out the other way round */
  gsize max_extents;
  GArray *extents; /* SnapNbdExtent, from `offset` on */

  guint64 at;                 /* ranges came in up to here */
  guint32 block_flags;        /* of the block that `at` lies inside of */
  guint64 run_start, run_end; /* whole blocks that are not in the array yet */
  guint32 run_flags;
} SnapNbdRuns;

/* For [offset, end); ranges are to come from runs->at on, which is `offset` or
   before, up to snap_nbd_runs_limit(). */
void snap_nbd_runs_init (SnapNbdRuns *self, guint64 offset, guint64 end,
                         guint64 block, gsize max_extents);
void snap_nbd_runs_clear (SnapNbdRuns *self);

/* The end of the last block of the request. */
guint64 snap_nbd_runs_limit (const SnapNbdRuns *self);

/* Add the range from where the last one ended to @end. */
void snap_nbd_runs_add (SnapNbdRuns *self, guint64 end, guint32 flags);

/* FALSE when there is no room for more extents. */
gboolean snap_nbd_runs_want_more (const SnapNbdRuns *self);

/* No more ranges come.  Returns where what is said ends. */
guint64 snap_nbd_runs_finish (SnapNbdRuns *self);

/* Say nothing at or after @end. */
void snap_nbd_runs_trim (SnapNbdRuns *self, guint64 end);

#endif
