/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent dirty bitmaps as checkpoints.  They are listed, and no diff from
 * one is had.
 *
 * A bitmap says what changed since it was made, as long as nobody cleared,
 * disabled or replaced it, and the disk was not resized.  None of that leaves a
 * trace: the image knows a bitmap by its name alone, and when it began by
 * nothing.
 */
#include "config.h"

#include "snapshot-core/drivers/qcow2/qcow2.h"

#include "snapshot-core/format/qcow2-bitmaps.h"

/* No snapshot that QEMU made has such an identity: theirs are numbers. */
#define ID_PREFIX "bitmap:"

static GPtrArray *
read_bitmaps (const Qcow2Volume *volume, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (volume);

  return snap_qcow2_bitmaps_read (file->reader, file->header, error);
}

static SnapPoint *
point_new (const Qcow2Volume *volume, const SnapQcow2Bitmap *bitmap)
{
  SnapPoint *point = snap_point_new (SNAP_POINT_CHECKPOINT, bitmap->name);

  point->id = g_strconcat (ID_PREFIX, bitmap->name, NULL);
  point->size = qcow2_volume_file (volume)->size;
  return point;
}

gboolean
qcow2_bitmap_list (const Qcow2Volume *volume, GPtrArray *points, GError **error)
{
  g_autoptr (GPtrArray) bitmaps = read_bitmaps (volume, error);

  for (guint i = 0; bitmaps != NULL && i < bitmaps->len; i++)
    g_ptr_array_add (points, point_new (volume, bitmaps->pdata[i]));
  return bitmaps != NULL;
}

/* What is known to be wrong with a bitmap, or else what cannot be known. */
static const char *
find_doubt (const SnapQcow2Bitmap *bitmap)
{
  if (bitmap->in_use)
    return "it was not stored when the image was closed";
  if (!bitmap->recording)
    return "it is disabled, and misses what was written since";
  if (bitmap->foreign)
    return "it has extra data of unknown meaning";
  return "nothing in the image tells whether it was cleared, disabled or made "
         "anew since";
}

gboolean
qcow2_bitmap_refuse (const Qcow2Volume *volume, const SnapPoint *from,
                     GError **error)
{
  const char *location = volume->parent.location;
  const char *doubt = "the image no longer holds it";
  g_autoptr (GPtrArray) bitmaps = read_bitmaps (volume, error);

  if (bitmaps == NULL) {
    g_prefix_error (error, "%s: ", location);
    return FALSE;
  }
  for (guint i = 0; i < bitmaps->len; i++) {
    const SnapQcow2Bitmap *bitmap = g_ptr_array_index (bitmaps, i);

    if (g_str_equal (bitmap->name, from->name))
      doubt = find_doubt (bitmap);
  }
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                         "%s@%s: a dirty bitmap is no base: %s", location,
                         from->name, doubt);
}
