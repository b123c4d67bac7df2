/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/memory-data.h"

typedef struct {
  SnapImage parent;
  MemoryLayer *layer;
} MemoryImage;

static const SnapExtent *lie;
static gboolean hide_holes;
static gint n_images;

void
memory_driver_lie (const SnapExtent *extent)
{
  lie = extent;
}

void
memory_driver_hide_holes (gboolean hide)
{
  hide_holes = hide;
}

static MemoryLayer *
take_layer (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  MemoryStore *store;
  MemoryLayer *layer;

  if (point->kind == SNAP_POINT_SNAPSHOT) {
    MemorySnap *snap = memory_lock_snap (volume, point, &store, error);

    if (snap == NULL)
      return NULL;
    layer = memory_layer_ref (snap->layer);
  }
  else {
    store = memory_lock_store (volume->location, error);
    if (store == NULL)
      return NULL;
    layer = point->kind == SNAP_POINT_LIVE ? memory_layer_snapshot (store->live)
                                           : memory_layer_ref (store->backing);
  }
  memory_unlock ();
  return layer;
}

gboolean
memory_comparable (const SnapDiffRequest *request, GError **error)
{
  if (g_str_equal (request->from_volume->id, request->to_volume->id))
    return TRUE;
  return snap_error_set (
      error, SNAP_ERROR_NOT_COMPARABLE, "%s: is another store than %s",
      request->to_volume->location, request->from_volume->location);
}

static gboolean
emit_changed (const MemoryLayer *from, const MemoryLayer *to,
              const SnapDiffRequest *request, SnapExtentFunc emit,
              gpointer user_data, GError **error)
{
  guint64 end = MIN (request->offset + request->length, to->size);

  for (guint64 at = request->offset; at < end; at += MEMORY_BLOCK) {
    GBytes *block = memory_layer_block (to, at / MEMORY_BLOCK);
    SnapExtent extent = { at, MEMORY_BLOCK, SNAP_EXTENT_DIRTY };

    if (block == memory_layer_block (from, at / MEMORY_BLOCK))
      continue;
    extent.length = MIN (extent.length, end - at);
    if (block == NULL || block == memory_zero ())
      extent.flags |= SNAP_EXTENT_ZERO;
    if (!emit (&extent, user_data, error))
      return FALSE;
  }
  return lie == NULL || emit (lie, user_data, error);
}

gboolean
memory_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
             SnapExtentFunc emit, gpointer user_data, GError **error)
{
  g_autoptr (MemoryLayer) from = NULL;
  g_autoptr (MemoryLayer) to = NULL;
  GError *reason = NULL;

  *info = (SnapDiffInfo){ MEMORY_BLOCK, SNAP_PROOF_EXACT, "memory" };
  if (!memory_enter (MEMORY_DIFF, request->to_volume->location, error))
    return FALSE;
  from = take_layer (request->from_volume, request->from, error);
  if (from == NULL)
    return FALSE;
  to = take_layer (request->to_volume, request->to, error);
  if (to == NULL)
    return FALSE;
  if (emit_changed (from, to, request, emit, user_data, &reason)
      || reason == NULL)
    return TRUE;
  g_propagate_error (error, reason);
  return FALSE;
}

/* ---- images ---- */

guint
memory_driver_n_images (void)
{
  return g_atomic_int_get (&n_images);
}

static gboolean
image_read_at (SnapImage *parent, guint64 offset, void *buffer, gsize length,
               GError **error)
{
  memory_layer_read (((MemoryImage *) parent)->layer, offset, buffer, length);
  return TRUE;
}

static gboolean
image_extents (SnapImage *parent, guint64 offset, guint64 length,
               SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const MemoryLayer *layer = ((MemoryImage *) parent)->layer;

  for (guint64 at = offset; at < offset + length;) {
    guint64 next =
        MIN ((at / MEMORY_BLOCK + 1) * MEMORY_BLOCK, offset + length);
    GBytes *block = memory_layer_block (layer, at / MEMORY_BLOCK);
    SnapExtent extent = { at, next - at, 0 };
    GError *reason = NULL;

    if (block == NULL)
      extent.flags = SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO;
    else if (block == memory_zero ())
      extent.flags = SNAP_EXTENT_ZERO;
    if (!(hide_holes && block == NULL) && !emit (&extent, user_data, &reason)) {
      if (reason == NULL)
        return TRUE;
      g_propagate_error (error, reason);
      return FALSE;
    }
    at = next;
  }
  return TRUE;
}

static void
image_close (SnapImage *parent)
{
  MemoryImage *image = (MemoryImage *) parent;

  memory_layer_unref (image->layer);
  g_free (image);
  g_atomic_int_add (&n_images, -1);
}

static const SnapImageOps image_ops = {
  .struct_size = sizeof (SnapImageOps),
  .read_at = image_read_at,
  .extents = image_extents,
  .close = image_close,
};

SnapImage *
memory_open_image (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  MemoryLayer *layer;
  MemoryImage *image;

  if (!memory_enter (MEMORY_IMAGE, volume->location, error))
    return NULL;
  layer = take_layer (volume, point, error);
  if (layer == NULL)
    return NULL;
  image = g_new0 (MemoryImage, 1);
  image->parent.ops = &image_ops;
  image->parent.size = layer->size;
  image->layer = layer;
  g_atomic_int_inc (&n_images);
  return &image->parent;
}
