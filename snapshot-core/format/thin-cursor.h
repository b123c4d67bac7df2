/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A position in a B-tree of a thin pool: on an entry of some node, internal
 * or leaf, with all that lies before it done.
 */
#ifndef SNAP_FORMAT_THIN_CURSOR_H
#define SNAP_FORMAT_THIN_CURSOR_H

#include "snapshot-core/format/thin-node.h"

typedef struct {
  SnapReader *reader; /* borrowed */
  const SnapThinSuperblock *super;
  guint32 value_size; /* of the leaves */
  guint64 begin, end; /* only keys in [begin, end) are of interest */

  guint depth;  /* of the current node; 0 is the root's */
  guint height; /* of the whole tree: nodes from the root to a leaf */
  guint32 index[SNAP_THIN_MAX_DEPTH];
  guint64 limit[SNAP_THIN_MAX_DEPTH]; /* no key of the node is at or above */
  SnapThinNode nodes[SNAP_THIN_MAX_DEPTH];
  guint8 *blocks; /* SNAP_THIN_MAX_DEPTH of them */
  gboolean at_end;
} SnapThinCursor;

/* Stand on the entry of the root that holds @begin, or the first after it.
   snap_thin_cursor_clear() also after an error. */
gboolean snap_thin_cursor_init (SnapThinCursor *self, SnapReader *reader,
                                const SnapThinSuperblock *super, guint64 root,
                                guint32 value_size, guint64 begin, guint64 end,
                                GError **error);
void snap_thin_cursor_clear (SnapThinCursor *self);

/* How many nodes lie on the way from the root of a tree to a leaf.  Errors:
   CORRUPT, IO. */
gboolean snap_thin_tree_height (SnapReader *reader,
                                const SnapThinSuperblock *super, guint64 root,
                                guint32 value_size, guint *height,
                                GError **error);

/* The current entry; not at the end. */
gboolean snap_thin_cursor_is_leaf (const SnapThinCursor *self);
guint64 snap_thin_cursor_key (const SnapThinCursor *self);
guint64 snap_thin_cursor_value (const SnapThinCursor *self);
const guint8 *snap_thin_cursor_value_bytes (const SnapThinCursor *self);

/* How many levels lie below the current entry's node. */
guint snap_thin_cursor_level (const SnapThinCursor *self);

/* Go to the first entry of interest in the child of an internal entry. */
gboolean snap_thin_cursor_descend (SnapThinCursor *self, GError **error);

/* Go past the current entry and all that is below it. */
void snap_thin_cursor_skip (SnapThinCursor *self);

/* Go down to the first entry of a leaf that is not before the current one, or
   to the end. */
gboolean snap_thin_cursor_to_leaf (SnapThinCursor *self, GError **error);

#endif
