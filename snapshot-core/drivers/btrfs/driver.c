/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/drivers/plain-image.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/reflink.h"

/* ---- the volume ---- */

static void
btrfs_close (SnapVolume *volume)
{
  BtrfsVolume *self = (BtrfsVolume *) volume;

  snap_fd_clear (&self->fd);
  snap_fd_clear (&self->top_fd);
  g_free (self->top);
  g_free (self->path);
  g_free (self->member);
  g_free (self->reserved_name);
  g_free (volume->location);
  g_free (volume->part);
  g_free (volume->id);
  g_free (volume->label);
  g_free (self);
}

static void
close_half_open (BtrfsVolume *self)
{
  btrfs_close (&self->parent);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BtrfsVolume, close_half_open)

static gboolean
check_id (const BtrfsVolume *self, const char *id, GError **error)
{
  return g_str_equal (self->parent.id, id)
         || snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                            "%s: the subvolume that it was in is not there",
                            self->parent.location);
}

/* A file that is gone is a volume for as long as there are snapshots of it;
   they are found by where it was. */
static gboolean
check_there (BtrfsVolume *self, GError **error)
{
  char *location = self->parent.location;
  g_autoptr (GPtrArray) points = NULL;

  if (self->fd >= 0)
    return TRUE;
  points = btrfs_points (self, error);
  if (points == NULL)
    return FALSE;
  if (points->len == 0)
    return snap_error_set_errno (error, ENOENT, "%s", location);
  return TRUE;
}

static SnapVolume *
btrfs_open (const char *location, const char *part,
            const SnapOpenOptions *options, GError **error)
{
  g_autoptr (BtrfsVolume) self = g_new0 (BtrfsVolume, 1);

  self->parent.driver = &snap_driver_btrfs;
  self->parent.location = g_strdup (location);
  self->fd = self->top_fd = -1;
  self->reserved_name =
      g_strdup (options->snapshot_dir != NULL ? options->snapshot_dir
                                              : SNAP_RESERVED_NAME);
  if (part != NULL) {
    snap_error_set (error, SNAP_ERROR_USAGE, "%s#%s: a file has no parts",
                    location, part);
    return NULL;
  }
  if (!btrfs_volume_locate (self, error)
      || !(options->volume_id != NULL
               ? check_id (self, options->volume_id, error)
               : check_there (self, error)))
    return NULL;
  return &g_steal_pointer (&self)->parent;
}

static gboolean
has_snapshots (const char *location)
{
  const SnapOpenOptions options = { .mode = SNAP_OPEN_READ };
  SnapVolume *volume = btrfs_open (location, NULL, &options, NULL);

  if (volume != NULL)
    btrfs_close (volume);
  return volume != NULL;
}

/* O_NONBLOCK, so that a FIFO in the place of a file cannot hang us. */
static int
btrfs_probe (const char *location)
{
  snap_autofd int fd = open (location, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;

  if (fd < 0)
    return errno == ENOENT && has_snapshots (location) ? 50 : 0;
  if (fstat (fd, &st) < 0 || !S_ISREG (st.st_mode))
    return 0;
  return snap_fs_kind (fd) == SNAP_FS_BTRFS ? 50 : 0;
}

/* ---- points ---- */

static GPtrArray *
btrfs_list (SnapVolume *volume, GError **error)
{
  return btrfs_points ((BtrfsVolume *) volume, error);
}

static SnapPoint *
btrfs_special (SnapVolume *volume, SnapPointKind kind, GError **error)
{
  const BtrfsVolume *self = (BtrfsVolume *) volume;
  SnapPoint *point;
  struct stat st;

  if (kind != SNAP_POINT_LIVE) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no backing file",
                    volume->location);
    return NULL;
  }
  if (self->fd < 0) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                    "%s@live: the file is gone, only its snapshots are there",
                    volume->location);
    return NULL;
  }
  if (fstat (self->fd, &st) < 0) {
    snap_error_set_errno (error, errno, "%s", volume->location);
    return NULL;
  }
  point = snap_point_new (SNAP_POINT_LIVE, "live");
  point->id = g_strdup_printf ("%" G_GUINT64_FORMAT ".%u", (guint64) st.st_ino,
                               snap_inode_generation (self->fd));
  point->size = st.st_size;
  return point;
}

/* The live file is read through a snapshot, so that it stands still. */
static SnapImage *
btrfs_open_image (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  const BtrfsVolume *self = (BtrfsVolume *) volume;
  g_autofree char *name =
      g_strdup_printf ("%s@%s", volume->location, point->name);
  g_auto (BtrfsSide) side = { .fd = -1 };
  gboolean opened = FALSE;

  if (point->kind == SNAP_POINT_SNAPSHOT)
    opened = btrfs_point_open (self, point, &side, error);
  else if (point->kind == SNAP_POINT_LIVE)
    opened = btrfs_live_open (self, &side, error);
  else
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s: only snapshots and the live file can be read", name);
  if (!opened)
    return NULL;
  return snap_plain_image_take (snap_fd_steal (&side.fd), name, error);
}

static char *
btrfs_plain_path (SnapVolume *volume, const SnapPoint *point)
{
  const BtrfsVolume *self = (BtrfsVolume *) volume;
  g_auto (BtrfsSide) side = { .fd = -1 };

  if (point->kind != SNAP_POINT_SNAPSHOT
      || !btrfs_point_open (self, point, &side, NULL))
    return NULL;
  return g_build_filename (self->top, self->reserved_name, point->handle,
                           self->path, NULL);
}

const SnapDriver snap_driver_btrfs = {
  SNAP_DRIVER_INIT,
  .name = "btrfs",
  .description = "read-only snapshots of the subvolume that a file lies in",
  .probe = btrfs_probe,
  .open = btrfs_open,
  .close = btrfs_close,
  .list = btrfs_list,
  .special = btrfs_special,
  .remove = btrfs_remove,
  .plan = btrfs_plan,
  .prepare = btrfs_prepare,
  .cut = btrfs_cut,
  .commit = btrfs_commit,
  .abort = btrfs_abort,
  .free_cut = btrfs_free_cut,
  .cuts_at_once = btrfs_cuts_at_once,
  .recover = btrfs_recover,
  .comparable = btrfs_comparable,
  .diff = btrfs_diff,
  .open_image = btrfs_open_image,
  .sweep = btrfs_sweep,
  .plain_path = btrfs_plain_path,
};
