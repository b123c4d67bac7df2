/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/thin-cursor.h"

#include "snapshot-core/base/error.h"

static const SnapThinNode *
current (const SnapThinCursor *self)
{
  return &self->nodes[self->depth];
}

gboolean
snap_thin_cursor_is_leaf (const SnapThinCursor *self)
{
  return current (self)->is_leaf;
}

guint64
snap_thin_cursor_key (const SnapThinCursor *self)
{
  return snap_thin_node_key (current (self), self->index[self->depth]);
}

guint64
snap_thin_cursor_value (const SnapThinCursor *self)
{
  return snap_thin_node_value (current (self), self->index[self->depth]);
}

const guint8 *
snap_thin_cursor_value_bytes (const SnapThinCursor *self)
{
  return snap_thin_node_value_bytes (current (self), self->index[self->depth]);
}

guint
snap_thin_cursor_level (const SnapThinCursor *self)
{
  return self->height - 1 - self->depth;
}

/* ---- moving ---- */

/* Up, until there is an entry to stand on; all later keys are of no interest
   once one is past the end. */
static void
settle (SnapThinCursor *self)
{
  while (self->index[self->depth] >= current (self)->n_entries) {
    if (self->depth == 0) {
      self->at_end = TRUE;
      return;
    }
    self->depth--;
    self->index[self->depth]++;
  }
  self->at_end = snap_thin_cursor_key (self) >= self->end;
}

/* Stand in a node that was just read. */
static void
enter (SnapThinCursor *self)
{
  self->index[self->depth] = snap_thin_node_enter (current (self), self->begin);
  settle (self);
}

static gboolean
read_node (SnapThinCursor *self, guint64 block, guint64 first, guint64 limit,
           GError **error)
{
  self->limit[self->depth] = limit;
  return snap_thin_node_read (self->reader, self->super, block, first, limit,
                              self->value_size,
                              self->blocks + self->depth * SNAP_THIN_BLOCK,
                              &self->nodes[self->depth], error);
}

gboolean
snap_thin_cursor_descend (SnapThinCursor *self, GError **error)
{
  guint64 block = snap_thin_cursor_value (self);
  guint64 first = snap_thin_cursor_key (self);
  guint64 limit = snap_thin_node_limit (
      current (self), self->index[self->depth], self->limit[self->depth]);
  gboolean leaf_expected = snap_thin_cursor_level (self) == 1;

  self->depth++;
  if (!read_node (self, block, first, limit, error))
    return FALSE;
  if (current (self)->is_leaf != leaf_expected)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "metadata block %" G_GUINT64_FORMAT
                           ": leaves at different depths",
                           block);
  enter (self);
  return TRUE;
}

void
snap_thin_cursor_skip (SnapThinCursor *self)
{
  self->index[self->depth]++;
  settle (self);
}

gboolean
snap_thin_cursor_to_leaf (SnapThinCursor *self, GError **error)
{
  while (!self->at_end && !snap_thin_cursor_is_leaf (self))
    if (!snap_thin_cursor_descend (self, error))
      return FALSE;
  return TRUE;
}

/* ---- beginning and end ---- */

/* By following the first entries down. */
gboolean
snap_thin_tree_height (SnapReader *reader, const SnapThinSuperblock *super,
                       guint64 root, guint32 value_size, guint *height,
                       GError **error)
{
  guint8 bytes[SNAP_THIN_BLOCK];
  guint64 block = root;
  guint64 first = 0;
  SnapThinNode node;

  for (*height = 1; *height <= SNAP_THIN_MAX_DEPTH; (*height)++) {
    if (!snap_thin_node_read (reader, super, block, first, G_MAXUINT64,
                              value_size, bytes, &node, error))
      return FALSE;
    if (node.is_leaf)
      return TRUE;
    block = snap_thin_node_value (&node, 0);
    first = snap_thin_node_key (&node, 0);
  }
  return snap_error_set (
      error, SNAP_ERROR_CORRUPT,
      "metadata block %" G_GUINT64_FORMAT ": a tree that is too deep", root);
}

gboolean
snap_thin_cursor_init (SnapThinCursor *self, SnapReader *reader,
                       const SnapThinSuperblock *super, guint64 root,
                       guint32 value_size, guint64 begin, guint64 end,
                       GError **error)
{
  *self = (SnapThinCursor){ .reader = reader,
                            .super = super,
                            .value_size = value_size,
                            .begin = begin,
                            .end = end };
  self->blocks = g_malloc (SNAP_THIN_MAX_DEPTH * SNAP_THIN_BLOCK);
  if (!snap_thin_tree_height (reader, super, root, value_size, &self->height,
                              error)
      || !read_node (self, root, 0, G_MAXUINT64, error))
    return FALSE;
  enter (self);
  return TRUE;
}

void
snap_thin_cursor_clear (SnapThinCursor *self)
{
  g_clear_pointer (&self->blocks, g_free);
}
