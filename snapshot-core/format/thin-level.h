/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two trees of mappings of a thin pool, walked together level by level, without
 * the subtrees that they share.
 *
 * A level asks the one above for the nodes that have to be looked at, in the
 * order of their keys, a batch at a time, and reads the batch.  Then it stands
 * on one entry on each side, and hands out children in its turn.  The memory
 * is that of the batches, however large the trees are.
 */
#ifndef SNAP_FORMAT_THIN_LEVEL_H
#define SNAP_FORMAT_THIN_LEVEL_H

#include "snapshot-core/format/thin-batch.h"

enum { SNAP_THIN_FROM, SNAP_THIN_TO, SNAP_THIN_N_SIDES };

typedef struct {
  SnapReader *reader;
  const SnapThinSuperblock *super;
  guint32 value_size;              /* of the leaves */
  guint64 root[SNAP_THIN_N_SIDES]; /* 0: a tree without entries */
  guint height[SNAP_THIN_N_SIDES]; /* nodes on the way to a leaf */
  guint64 begin, end;              /* the keys of interest */
  guint max_batch;                 /* nodes, of a level */
} SnapThinTrees;

/* Where the walk stands on one side. */
typedef struct {
  SnapThinNode node;
  guint64 limit;    /* no key of the node is at or above */
  guint32 index, n; /* the current entry, and of how many */
  guint8 *block;    /* of the node */
} SnapThinSide;

typedef struct _SnapThinLevel SnapThinLevel;

/* The level of the leaves; @trees is borrowed. */
SnapThinLevel *snap_thin_leaves_new (const SnapThinTrees *trees);
void snap_thin_level_free (SnapThinLevel *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapThinLevel, snap_thin_level_free)

/*
 * Go on until it is certain what comes next: the lowest key of both sides is
 * below *limit, and below it neither side can get another one.  Borrowed, the
 * sides are to be moved by the caller; *limit is 0 at the end of both trees.
 *
 * Errors: CORRUPT, IO.
 */
SnapThinSide *snap_thin_level_settle (SnapThinLevel *self, guint64 *limit,
                                      GError **error);

/* The key of the current entry, G_MAXUINT64 if there is none. */
static inline guint64
snap_thin_side_key (const SnapThinSide *self)
{
  return self->index < self->n ? snap_thin_node_key (&self->node, self->index)
                               : G_MAXUINT64;
}

static inline guint64
snap_thin_side_value (const SnapThinSide *self)
{
  return snap_thin_node_value (&self->node, self->index);
}

#endif
