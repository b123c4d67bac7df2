/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many nodes of one level of a thin pool's trees, read together: in the order
 * of their blocks, neighbours by one read, many reads under way at once.
 */
#ifndef SNAP_FORMAT_THIN_BATCH_H
#define SNAP_FORMAT_THIN_BATCH_H

#include "snapshot-core/format/thin-node.h"

/* A node that somebody wants to look at: what its parent says of it. */
typedef struct {
  guint64 block;
  guint64 first, limit; /* its keys lie in [first, limit) */
  guint side;           /* which of two trees it is of */
} SnapThinChild;

typedef struct {
  SnapReader *reader; /* borrowed, as is the next */
  const SnapThinSuperblock *super;
  guint32 value_size; /* of the leaves */
  gboolean are_leaves;

  guint room, n;
  SnapThinChild *children; /* n of them */

  SnapThinNode *nodes; /* of each child, once they are read */
  guint8 *blocks;      /* aligned, for O_DIRECT */
  guint *by_block;     /* the children in the order of their blocks */
  GArray *runs;        /* of neighbours among them, and the read of each */
  SnapReadPart *parts;
} SnapThinBatch;

/* @self has its reader, super, value_size and are_leaves, and 0 elsewhere. */
void snap_thin_batch_clear (SnapThinBatch *self);

/* Empty it, and make room for @room children. */
void snap_thin_batch_reset (SnapThinBatch *self, guint room);

/* Read and verify all children.  Errors: CORRUPT, IO. */
gboolean snap_thin_batch_read (SnapThinBatch *self, GError **error);

#endif
