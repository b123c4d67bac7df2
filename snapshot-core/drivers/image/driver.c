/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/image/image.h"

#include <errno.h>
#include <sys/stat.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"

#include <fcntl.h>

/* Below the drivers of file systems, for which such a file is a file. */
#define SCORE 40

/*
 * By what the file is called and by what it begins with.  A raw disk begins as
 * its guest likes, but it does not have such a name.
 */
static int
image_probe (const char *location)
{
  SnapDiskFormat named;
  SnapDiskFormat found = SNAP_DISK_RAW;
  g_autoptr (SnapReader) reader = NULL;
  struct stat st;
  int fd;

  if (!snap_disk_format_of_name (location, &named) || stat (location, &st) < 0
      || !S_ISREG (st.st_mode))
    return 0;
  fd = open (location, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return 0;
  reader = snap_file_reader_take (fd, SNAP_FILE_BUFFERED, location, NULL);
  return reader != NULL && snap_disk_format_detect (reader, &found, NULL)
                 && found == named
             ? SCORE
             : 0;
}

/* ---- the volume ---- */

static void
image_close (SnapVolume *volume)
{
  ImageVolume *self = (ImageVolume *) volume;

  g_clear_pointer (&self->chain, g_ptr_array_unref);
  g_free (self->secret_file);
  g_free (volume->location);
  g_free (volume->part);
  g_free (volume->id);
  g_free (volume->label);
  g_free (self);
}

static void
close_half_open (ImageVolume *self)
{
  image_close (&self->parent);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImageVolume, close_half_open)

static gboolean
identify (ImageVolume *self, GError **error)
{
  const ImageFile *file = image_volume_file (self);
  struct stat st;

  if (fstat (snap_file_reader_fd (file->reader), &st) < 0)
    return snap_error_set_errno (error, errno, "%s", file->path);
  self->parent.id =
      g_strdup_printf ("%" G_GINT64_MODIFIER "x:%" G_GINT64_MODIFIER "u",
                       (guint64) st.st_dev, (guint64) st.st_ino);
  return TRUE;
}

static SnapVolume *
image_open (const char *location, const char *part,
            const SnapOpenOptions *options, GError **error)
{
  g_autoptr (ImageVolume) self = g_new0 (ImageVolume, 1);

  self->parent.driver = &snap_driver_image;
  self->parent.location = g_strdup (location);
  self->parent.part = g_strdup (part);
  self->parent.label = g_path_get_basename (location);
  self->secret_file = g_strdup (options->secret_file);
  self->chain = image_chain_open (location, part, error);
  if (self->chain == NULL || !identify (self, error)
      || !image_daemon_measure (self, error))
    return NULL;
  return &g_steal_pointer (&self)->parent;
}

/* ---- points ---- */

/* Nothing in such an image is a snapshot that could be found. */
static GPtrArray *
image_list (SnapVolume *volume, GError **error)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);
}

static SnapPoint *
image_special (SnapVolume *volume, SnapPointKind kind, GError **error)
{
  const ImageVolume *self = (ImageVolume *) volume;
  const ImageFile *file = kind == SNAP_POINT_LIVE ? image_volume_file (self)
                                                  : image_volume_backing (self);
  SnapPoint *point;

  if (file == NULL) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no backing file",
                    volume->location);
    return NULL;
  }
  point = snap_point_new (kind, kind == SNAP_POINT_LIVE ? "live" : "backing");
  point->id = g_strdup (point->name);
  point->size = file->size;
  return point;
}

const SnapDriver snap_driver_image = {
  SNAP_DRIVER_INIT,
  .name = "image",
  .description = "a disk image of another format of QEMU's, not in use",
  .probe = image_probe,
  .open = image_open,
  .close = image_close,
  .list = image_list,
  .special = image_special,
  .comparable = image_comparable,
  .diff = image_diff,
  .open_image = image_open_image,
};
