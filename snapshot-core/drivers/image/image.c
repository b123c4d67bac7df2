/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data of the image, through a daemon that is started at the first read.
 */
#include "config.h"

#include "snapshot-core/drivers/image/image.h"

#include <string.h>

/* As many reads can be under way in the daemon. */
#define N_CONNECTIONS 4

typedef struct {
  SnapImage parent;
  ImageVolume *volume; /* borrowed: outlives its images */

  GMutex lock; /* guards the next two */
  SnapNbdSource *source;
  GError *source_error; /* why it did not start; kept for every reader */
} Image;

static SnapNbdSource *
get_source (Image *self, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (self->source == NULL && self->source_error == NULL)
    self->source =
        image_daemon_start (self->volume, N_CONNECTIONS, &self->source_error);
  if (self->source == NULL)
    g_propagate_error (error, g_error_copy (self->source_error));
  return self->source;
}

static guint64
sector_below (guint64 offset)
{
  return offset - offset % IMAGE_SECTOR;
}

/* Sizes of disks are whole sectors, so this never leads past the end. */
static guint64
sector_above (guint64 offset)
{
  return sector_below (offset + IMAGE_SECTOR - 1);
}

/* ---- reads ---- */

static gboolean
image_read_at (SnapImage *image, guint64 offset, void *buffer, gsize length,
               GError **error)
{
  SnapNbdSource *source = get_source ((Image *) image, error);
  guint64 begin = sector_below (offset);
  guint64 end = sector_above (offset + length);
  g_autofree guint8 *sectors = NULL;

  if (source == NULL)
    return FALSE;
  if (begin == offset && end == offset + length)
    return snap_nbd_source_read (source, offset, buffer, length, error);
  sectors = g_malloc (end - begin);
  if (!snap_nbd_source_read (source, begin, sectors, end - begin, error))
    return FALSE;
  memcpy (buffer, sectors + (offset - begin), length);
  return TRUE;
}

/* ---- allocation ---- */

typedef struct {
  guint64 begin, end; /* what was asked for; whole sectors are told */
  guint32 flags;
  SnapExtentFunc emit;
  gpointer user_data;
} Telling;

/* A hole that is not known to be zeroes is none that a client should act on. */
static gboolean
tell_piece (guint64 offset, guint64 length, guint32 status, gpointer user_data,
            GError **error)
{
  const Telling *self = user_data;
  guint64 begin = MAX (offset, self->begin);
  guint64 end = MIN (offset + length, self->end);
  SnapExtent extent = { begin, end - begin, self->flags };

  if ((status & SNAP_NBD_ZERO) != 0)
    extent.flags |=
        SNAP_EXTENT_ZERO | (status & SNAP_NBD_HOLE ? SNAP_EXTENT_HOLE : 0);
  return end <= begin || self->emit (&extent, self->user_data, error);
}

gboolean
image_emit_zeroes (SnapNbdSource *source, guint64 offset, guint64 length,
                   guint32 flags, SnapExtentFunc emit, gpointer user_data,
                   GError **error)
{
  Telling telling = { offset, offset + length, flags, emit, user_data };
  guint64 begin = sector_below (offset);

  return snap_nbd_source_status (source, SNAP_NBD_ALLOCATION, begin,
                                 sector_above (offset + length) - begin,
                                 tell_piece, &telling, error);
}

static gboolean
image_extents (SnapImage *image, guint64 offset, guint64 length,
               SnapExtentFunc emit, gpointer user_data, GError **error)
{
  SnapNbdSource *source = get_source ((Image *) image, error);
  GError *reason = NULL;

  if (source == NULL)
    return FALSE;
  if (image_emit_zeroes (source, offset, length, 0, emit, user_data, &reason)
      || reason == NULL)
    return TRUE;
  g_propagate_error (error, reason);
  return FALSE;
}

/* ---- open and close ---- */

static void
image_close (SnapImage *image)
{
  Image *self = (Image *) image;

  g_clear_pointer (&self->source, snap_nbd_source_close);
  g_clear_error (&self->source_error);
  g_mutex_clear (&self->lock);
  g_free (self);
}

static const SnapImageOps image_ops = {
  .struct_size = sizeof (SnapImageOps),
  .read_at = image_read_at,
  .extents = image_extents,
  .close = image_close,
};

gboolean
image_check_whole (const ImageVolume *volume, GError **error)
{
  for (guint i = 0; i < volume->chain->len; i++) {
    const ImageFile *file = g_ptr_array_index (volume->chain, i);

    if (!snap_disk_image_check_end (file->reader, file->header->format,
                                    error)) {
      g_prefix_error (error, "%s: ", file->path);
      return FALSE;
    }
  }
  return TRUE;
}

SnapImage *
image_open_image (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  ImageVolume *owner = (ImageVolume *) volume;
  Image *self;

  if (point->kind != SNAP_POINT_LIVE) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s@%s: only the image itself can be read",
                    volume->location, point->name);
    return NULL;
  }
  if (!image_check_whole (owner, error))
    return NULL;
  self = g_new0 (Image, 1);
  self->parent.ops = &image_ops;
  self->parent.size = point->size;
  self->volume = owner;
  g_mutex_init (&self->lock);
  return &self->parent;
}
