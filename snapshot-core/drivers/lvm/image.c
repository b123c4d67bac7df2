/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a snapshot: from its device, which is activated at the first read
 * and not before, so that listing an export costs nothing.
 *
 * Allocation comes from the pool's metadata and needs no device.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "snapshot-core/drivers/plain-image.h"
#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"

/* What is asked of the metadata at once: a client that goes through a volume
   piece by piece must not reserve a metadata snapshot for each. */
#define MAP_WINDOW (G_GUINT64_CONSTANT (16) << 30)

typedef struct {
  SnapImage parent;
  LvmVolume *volume; /* borrowed; the export keeps it open */
  SnapPoint *point;
  char *dm_name;
  gboolean thin;

  GMutex lock; /* guards what follows */
  LvmActivation *activation;
  SnapImage *device; /* NULL until the first read */
  SnapExtents *map;  /* of [map_start, map_end) */
  guint64 map_start, map_end;
} LvmImage;

static void
image_close (SnapImage *image)
{
  LvmImage *self = (LvmImage *) image;

  if (self->device != NULL)
    self->device->ops->close (self->device);
  lvm_activation_free (self->activation);
  g_clear_pointer (&self->map, snap_extents_unref);
  snap_point_free (self->point);
  g_mutex_clear (&self->lock);
  g_free (self->dm_name);
  g_free (self);
}

/* ---- the device ---- */

static gboolean
open_device (LvmImage *self, const SnapLvmVolume *found, GError **error)
{
  snap_autofd int fd = -1;

  self->activation = lvm_activate (found, error);
  if (self->activation == NULL)
    return FALSE;
  fd = open (found->dm_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return snap_error_set_errno (error, errno, "%s", found->dm_path);
  self->device =
      snap_plain_image_take (snap_fd_steal (&fd), found->name, error);
  if (self->device == NULL)
    return FALSE;
  if (self->device->size >= self->parent.size)
    return TRUE;
  self->device->ops->close (self->device);
  self->device = NULL;
  return snap_error_set (error, SNAP_ERROR_IO,
                         "%s: became smaller while it was served",
                         found->dm_path);
}

/* The device, opened if it is not; NULL on error. */
static SnapImage *
take_device (LvmImage *self, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  g_autoptr (GPtrArray) report = NULL;
  const SnapLvmVolume *found;

  if (self->device != NULL)
    return self->device;
  report = lvm_report (self->volume->vg, error);
  found = report != NULL
              ? lvm_report_point (report, self->volume, self->point, error)
              : NULL;
  if (found != NULL && !open_device (self, found, error))
    g_clear_pointer (&self->activation, lvm_activation_free);
  return self->device;
}

/* A snapshot that overflowed fails every read from then on: say so. */
static void
explain (const LvmImage *self, GError **error)
{
  g_autofree char *status = NULL;

  if (self->thin || error == NULL)
    return;
  status = snap_dm_status (self->dm_name, NULL);
  if (status != NULL && g_str_equal (status, "snapshot Invalid"))
    g_prefix_error (error, "%s: the snapshot has overflowed: ", self->dm_name);
}

static gboolean
image_read_at (SnapImage *image, guint64 offset, void *buffer, gsize length,
               GError **error)
{
  LvmImage *self = (LvmImage *) image;
  SnapImage *device = take_device (self, error);

  if (device == NULL)
    return FALSE;
  if (device->ops->read_at (device, offset, buffer, length, error))
    return TRUE;
  explain (self, error);
  return FALSE;
}

static gboolean
image_file_range (SnapImage *image, guint64 offset, guint64 length,
                  SnapFileRange *range)
{
  LvmImage *self = (LvmImage *) image;
  SnapImage *device = take_device (self, NULL);

  return device != NULL
         && device->ops->file_range (device, offset, length, range);
}

/* ---- allocation ---- */

/* The extents of a part of the window that holds @offset; the caller
   unrefs. */
static SnapExtents *
take_map (LvmImage *self, guint64 offset, guint64 *end, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  guint64 start = offset - offset % MAP_WINDOW;

  if (self->map == NULL || offset < self->map_start
      || offset >= self->map_end) {
    g_clear_pointer (&self->map, snap_extents_unref);
    self->map_start = start;
    self->map_end = MIN (start + MAP_WINDOW, self->parent.size);
    self->map = lvm_thin_map (self->volume, self->point, self->map_start,
                              self->map_end - self->map_start, error);
  }
  *end = self->map_end;
  return self->map != NULL ? snap_extents_ref (self->map) : NULL;
}

/* The map is gapless; FALSE without an error when @emit has had enough. */
static gboolean
emit_map (const SnapExtents *map, guint64 offset, guint64 end,
          SnapExtentFunc emit, gpointer user_data, GError **error)
{
  for (gsize i = snap_extents_find (map, offset);
       i < snap_extents_n (map) && offset < end; i++) {
    SnapExtent extent = *snap_extents_at (map, i);
    guint64 extent_end = MIN (extent.offset + extent.length, end);

    extent.offset = offset;
    extent.length = extent_end - offset;
    if (!emit (&extent, user_data, error))
      return FALSE;
    offset = extent_end;
  }
  return TRUE;
}

static gboolean
thin_extents (LvmImage *self, guint64 offset, guint64 length,
              SnapExtentFunc emit, gpointer user_data, GError **error)
{
  guint64 end = offset + length;

  while (offset < end) {
    g_autoptr (GError) stop = NULL;
    guint64 map_end = end;
    g_autoptr (SnapExtents) map = take_map (self, offset, &map_end, error);

    if (map == NULL)
      return FALSE;
    map_end = MIN (map_end, end);
    if (!emit_map (map, offset, map_end, emit, user_data, &stop)) {
      if (stop == NULL)
        return TRUE;
      g_propagate_error (error, g_steal_pointer (&stop));
      return FALSE;
    }
    offset = map_end;
  }
  return TRUE;
}

static gboolean
image_extents (SnapImage *image, guint64 offset, guint64 length,
               SnapExtentFunc emit, gpointer user_data, GError **error)
{
  LvmImage *self = (LvmImage *) image;
  const SnapExtent all = { offset, length, 0 };
  g_autoptr (GError) stop = NULL;

  if (self->thin)
    return thin_extents (self, offset, length, emit, user_data, error);
  if (emit (&all, user_data, &stop) || stop == NULL)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&stop));
  return FALSE;
}

/* ---- opening ---- */

static const SnapImageOps image_ops = {
  .struct_size = sizeof (SnapImageOps),
  .read_at = image_read_at,
  .extents = image_extents,
  .file_range = image_file_range,
  .close = image_close,
};

static const char *
why_not (const SnapPoint *point, const SnapLvmVolume *found)
{
  if (point->kind != SNAP_POINT_SNAPSHOT)
    return "only snapshots can be read: the volume itself changes";
  if (found->writeable)
    return "can be written to, so that it does not stand still";
  if (found->invalid)
    return "has overflowed";
  if (found->merging)
    return "is being merged into its origin";
  return NULL;
}

SnapImage *
lvm_open_image (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = lvm_report (self->vg, error);
  const SnapLvmVolume *found =
      report != NULL ? lvm_report_point (report, self, point, error) : NULL;
  const char *fact;
  LvmImage *image;

  if (found == NULL)
    return NULL;
  fact = why_not (point, found);
  if (fact != NULL) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s@%s: %s",
                    volume->location, point->name, fact);
    return NULL;
  }
  image = g_new0 (LvmImage, 1);
  image->parent.ops = &image_ops;
  image->parent.size = point->size;
  image->volume = self;
  image->point = snap_point_dup (point);
  image->dm_name = g_strdup (lvm_dm_name (found));
  image->thin = found->thin_id != 0;
  g_mutex_init (&image->lock);
  return &image->parent;
}
