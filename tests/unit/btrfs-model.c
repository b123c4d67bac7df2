/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/btrfs-model.h"

/* Extents in one leaf; a real one has room for some 170. */
#define LEAF_ROOM 6

typedef struct {
  guint64 generation;
  GArray *extents; /* SnapBtrfsExtent */
} Leaf;

static Leaf *
leaf_new (guint64 generation)
{
  Leaf *leaf = g_new0 (Leaf, 1);

  leaf->generation = generation;
  leaf->extents = g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent));
  return leaf;
}

static void
leaf_free (Leaf *leaf)
{
  g_array_unref (leaf->extents);
  g_free (leaf);
}

static SnapBtrfsExtent *
nth (const Leaf *leaf, guint index)
{
  return &g_array_index (leaf->extents, SnapBtrfsExtent, index);
}

static Leaf *
leaf_at (const Model *self, guint index)
{
  return g_ptr_array_index (self->leaves, index);
}

static guint64
extent_end (const SnapBtrfsExtent *extent)
{
  return extent->start + extent->length;
}

/* ---- being searched ---- */

static gboolean
model_search (SnapBtrfsMap *map, const SnapBtrfsSearch *search, GArray *found,
              gboolean *more, GError **error)
{
  Model *self = (Model *) map;
  guint n_max = self->max_batch;

  g_atomic_int_inc (&self->n_searches);
  if (search->n_max != 0)
    n_max = MIN (n_max, search->n_max);
  *more = FALSE;
  for (guint i = 0; i < self->leaves->len; i++) {
    const Leaf *leaf = leaf_at (self, i);

    if (leaf->generation < search->min_generation)
      continue;
    for (guint j = 0; j < leaf->extents->len; j++) {
      const SnapBtrfsExtent *extent = nth (leaf, j);

      if (extent->start < search->first || extent->start >= search->end)
        continue;
      g_array_append_val (found, *extent);
      *more = found->len == n_max;
      if (*more)
        return TRUE;
    }
  }
  return TRUE;
}

/* What another thread sees the model through. */
typedef struct {
  SnapBtrfsMap map;
  Model *model;
} View;

static gboolean
view_search (SnapBtrfsMap *map, const SnapBtrfsSearch *search, GArray *found,
             gboolean *more, GError **error)
{
  View *self = (View *) map;

  return model_search (&self->model->map, search, found, more, error);
}

static SnapBtrfsMap *
model_view (SnapBtrfsMap *map)
{
  View *view = g_new0 (View, 1);

  view->map.search = view_search;
  view->map.free = (void (*) (SnapBtrfsMap *)) g_free;
  view->model = (Model *) map;
  return &view->map;
}

/* ---- life ---- */

Model *
model_new (void)
{
  Model *self = g_new0 (Model, 1);

  self->map.search = model_search;
  self->map.dup = model_view;
  self->leaves = g_ptr_array_new_with_free_func ((GDestroyNotify) leaf_free);
  self->generation = 1;
  self->max_batch = 1000;
  return self;
}

void
model_free (Model *self)
{
  g_ptr_array_unref (self->leaves);
  g_free (self);
}

Model *
model_snapshot (const Model *self)
{
  Model *copy = model_new ();

  copy->generation = self->generation;
  copy->size = self->size;
  copy->max_batch = self->max_batch;
  for (guint i = 0; i < self->leaves->len; i++) {
    const Leaf *leaf = leaf_at (self, i);
    Leaf *same = leaf_new (leaf->generation);

    g_array_append_vals (same->extents, leaf->extents->data,
                         leaf->extents->len);
    g_ptr_array_add (copy->leaves, same);
  }
  return copy;
}

/* ---- changing ---- */

/* What is left of an extent outside [offset, end). */
static void
keep_outside (GArray *kept, const SnapBtrfsExtent *extent, guint64 offset,
              guint64 end)
{
  SnapBtrfsExtent part = *extent;

  if (extent->start < offset) {
    part.length = MIN (extent_end (extent), offset) - extent->start;
    g_array_append_val (kept, part);
  }
  if (extent_end (extent) > end) {
    part.start = MAX (extent->start, end);
    part.length = extent_end (extent) - part.start;
    g_array_append_val (kept, part);
  }
}

static gboolean
leaf_overlaps (const Leaf *leaf, guint64 offset, guint64 end)
{
  for (guint i = 0; i < leaf->extents->len; i++)
    if (nth (leaf, i)->start < end && extent_end (nth (leaf, i)) > offset)
      return TRUE;
  return FALSE;
}

static void
clear_range (Model *self, guint64 offset, guint64 end)
{
  for (guint i = 0; i < self->leaves->len;) {
    Leaf *leaf = leaf_at (self, i);
    GArray *kept;

    if (!leaf_overlaps (leaf, offset, end)) {
      i++;
      continue;
    }
    kept = g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent));
    for (guint j = 0; j < leaf->extents->len; j++)
      keep_outside (kept, nth (leaf, j), offset, end);
    g_array_unref (leaf->extents);
    leaf->extents = kept;
    leaf->generation = self->generation;
    if (kept->len == 0)
      g_ptr_array_remove_index (self->leaves, i);
    else
      i++;
  }
}

/* The last leaf that begins at or before @offset, or the first. */
static guint
find_leaf (Model *self, guint64 offset)
{
  guint index = 0;

  if (self->leaves->len == 0)
    g_ptr_array_add (self->leaves, leaf_new (self->generation));
  for (guint i = 1; i < self->leaves->len; i++)
    if (nth (leaf_at (self, i), 0)->start <= offset)
      index = i;
  return index;
}

static void
split_leaf (Model *self, guint index)
{
  Leaf *leaf = leaf_at (self, index);
  Leaf *right = leaf_new (self->generation);
  guint half = leaf->extents->len / 2;

  if (leaf->extents->len <= LEAF_ROOM) {
    leaf_free (right);
    return;
  }
  g_array_append_vals (right->extents, nth (leaf, half),
                       leaf->extents->len - half);
  g_array_set_size (leaf->extents, half);
  g_ptr_array_insert (self->leaves, index + 1, right);
}

static void
put (Model *self, const SnapBtrfsExtent *extent)
{
  guint index;
  Leaf *leaf;
  guint at = 0;

  clear_range (self, extent->start, extent_end (extent));
  index = find_leaf (self, extent->start);
  leaf = leaf_at (self, index);
  while (at < leaf->extents->len && nth (leaf, at)->start < extent->start)
    at++;
  g_array_insert_val (leaf->extents, at, *extent);
  leaf->generation = self->generation;
  split_leaf (self, index);
  if (extent->kind != SNAP_BTRFS_PREALLOC)
    self->size = MAX (self->size, extent_end (extent));
}

static void
put_blocks (Model *self, guint64 first, guint64 n, SnapBtrfsKind kind,
            guint64 disk_start)
{
  SnapBtrfsExtent extent = { .start = first * MODEL_BLOCK,
                             .length = n * MODEL_BLOCK,
                             .kind = kind,
                             .disk_start = disk_start,
                             .disk_length = n * MODEL_BLOCK,
                             .ram_length = n * MODEL_BLOCK };

  extent.shift = -extent.start;
  put (self, &extent);
}

/* A place that nothing had before, as a file system with room gives. */
static guint64
new_place (void)
{
  static guint64 next = 1 << 30;

  return next += (guint64) MODEL_BLOCKS * MODEL_BLOCK;
}

void
model_write (Model *self, guint64 first, guint64 n)
{
  put_blocks (self, first, n, SNAP_BTRFS_DATA, new_place ());
}

void
model_preallocate (Model *self, guint64 first, guint64 n)
{
  put_blocks (self, first, n, SNAP_BTRFS_PREALLOC, new_place ());
}

void
model_put_hole (Model *self, guint64 first, guint64 n)
{
  put_blocks (self, first, n, SNAP_BTRFS_HOLE, 0);
}

void
model_share (Model *self, guint64 first, guint64 n, guint64 disk_start)
{
  put_blocks (self, first, n, SNAP_BTRFS_DATA, disk_start);
}

void
model_punch (Model *self, guint64 first, guint64 n)
{
  clear_range (self, first * MODEL_BLOCK, (first + n) * MODEL_BLOCK);
}

void
model_put_inline (Model *self, guint64 length)
{
  const SnapBtrfsExtent extent = { .length = length,
                                   .kind = SNAP_BTRFS_INLINE };

  put (self, &extent);
}

void
model_truncate (Model *self, guint64 size)
{
  guint64 end = (size + MODEL_BLOCK - 1) / MODEL_BLOCK * MODEL_BLOCK;

  if (size < self->size)
    clear_range (self, end, G_MAXUINT64);
  self->size = size;
}

void
model_drop_leaf (Model *self, guint index)
{
  g_ptr_array_remove_index (self->leaves, index);
}

/* ---- the truth ---- */

guint64
model_allocated (const Model *self)
{
  guint64 sum = 0;

  for (guint i = 0; i < self->leaves->len; i++)
    for (guint j = 0; j < leaf_at (self, i)->extents->len; j++) {
      const SnapBtrfsExtent *extent = nth (leaf_at (self, i), j);

      sum += extent->kind != SNAP_BTRFS_HOLE ? extent->length : 0;
    }
  return sum;
}

static gboolean
looks_full (const Model *self)
{
  for (guint i = 0; i < self->leaves->len; i++)
    for (guint j = 0; j < leaf_at (self, i)->extents->len; j++)
      if (nth (leaf_at (self, i), j)->kind == SNAP_BTRFS_PREALLOC)
        return FALSE;
  return model_allocated (self) == self->size;
}

SnapBtrfsSide
model_side (Model *self)
{
  return (SnapBtrfsSide){ .map = &self->map,
                          .size = self->size,
                          .allocated = model_allocated (self),
                          .looks_full = looks_full (self) };
}

guint64
model_content (const Model *self, guint64 block)
{
  guint64 offset = block * MODEL_BLOCK;

  for (guint i = 0; i < self->leaves->len; i++)
    for (guint j = 0; j < leaf_at (self, i)->extents->len; j++) {
      const SnapBtrfsExtent *extent = nth (leaf_at (self, i), j);

      if (offset < extent->start || offset >= extent_end (extent))
        continue;
      if (extent->kind == SNAP_BTRFS_INLINE)
        return 1 + self->generation; /* nobody can tell: never the same */
      return extent->kind == SNAP_BTRFS_DATA
                 ? extent->disk_start + extent->shift + offset
                 : 0;
    }
  return 0;
}
