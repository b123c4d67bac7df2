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
  const SnapThinNode *node = current (self);
  guint32 index = snap_thin_node_find (node, self->begin);

  if (node->is_leaf && node->n_entries > 0
      && snap_thin_node_key (node, index) < self->begin)
    index++;
  self->index[self->depth] = index;
  settle (self);
}

static gboolean
read_node (SnapThinCursor *self, guint64 block, guint64 first, guint64 limit,
           GError **error)
{
  self->limit[self->depth] = limit;
  return snap_thin_node_read (self->reader, self->super, block, first, limit,
                              self->value_size, &self->nodes[self->depth],
                              error);
}

static guint64
limit_of_entry (const SnapThinCursor *self)
{
  guint32 next = self->index[self->depth] + 1;

  return next < current (self)->n_entries
             ? snap_thin_node_key (current (self), next)
             : self->limit[self->depth];
}

gboolean
snap_thin_cursor_descend (SnapThinCursor *self, GError **error)
{
  guint64 block = snap_thin_cursor_value (self);
  guint64 first = snap_thin_cursor_key (self);
  guint64 limit = limit_of_entry (self);
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

/* The height, by following the first entries down. */
static gboolean
measure (SnapThinCursor *self, guint64 root, GError **error)
{
  guint64 block = root;
  guint64 first = 0;

  for (self->height = 1; self->height <= SNAP_THIN_MAX_DEPTH; self->height++) {
    if (!read_node (self, block, first, G_MAXUINT64, error))
      return FALSE;
    if (self->nodes[0].is_leaf)
      return TRUE;
    block = snap_thin_node_value (&self->nodes[0], 0);
    first = snap_thin_node_key (&self->nodes[0], 0);
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
  self->nodes = g_new (SnapThinNode, SNAP_THIN_MAX_DEPTH);
  if (!measure (self, root, error)
      || !read_node (self, root, 0, G_MAXUINT64, error))
    return FALSE;
  enter (self);
  return TRUE;
}

void
snap_thin_cursor_init_empty (SnapThinCursor *self)
{
  *self = (SnapThinCursor){ .at_end = TRUE };
}

void
snap_thin_cursor_clear (SnapThinCursor *self)
{
  g_clear_pointer (&self->nodes, g_free);
}
