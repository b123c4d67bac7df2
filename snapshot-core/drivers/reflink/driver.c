/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/reflink/reflink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/drivers/plain-image.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/reflink.h"

/* O_NONBLOCK, so that a FIFO in the place of a file cannot hang us. */
static int
open_file (const char *path, struct stat *st)
{
  snap_autofd int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

  if (fd < 0 || fstat (fd, st) < 0)
    return -1;
  if (!S_ISREG (st->st_mode)) {
    errno = S_ISDIR (st->st_mode) ? EISDIR : EINVAL;
    return -1;
  }
  return snap_fd_steal (&fd);
}

/* btrfs has something better; here it must be asked for by name. */
static int
reflink_probe (const char *location)
{
  struct stat st;
  snap_autofd int fd = open_file (location, &st);

  return fd >= 0 && snap_fs_kind (fd) == SNAP_FS_REFLINK ? 40 : 0;
}

/* ---- the volume ---- */

static void
reflink_close (SnapVolume *volume)
{
  ReflinkVolume *self = (ReflinkVolume *) volume;

  snap_fd_clear (&self->fd);
  snap_fd_clear (&self->directory_fd);
  g_free (self->directory);
  g_free (self->reserved_name);
  g_free (self->origin);
  g_free (volume->location);
  g_free (volume->part);
  g_free (volume->id);
  g_free (volume->label);
  g_free (self);
}

static void
close_half_open (ReflinkVolume *self)
{
  reflink_close (&self->parent);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ReflinkVolume, close_half_open)

/* A symbolic link is followed once, here: the snapshots lie beside the file
   itself. */
static gboolean
locate (ReflinkVolume *self, GError **error)
{
  g_autofree char *path = realpath (self->parent.location, NULL);

  if (path == NULL)
    return snap_error_set_errno (error, errno, "%s", self->parent.location);
  self->directory = g_path_get_dirname (path);
  self->parent.label = g_path_get_basename (path);
  return TRUE;
}

static gboolean
open_both (ReflinkVolume *self, GError **error)
{
  struct stat file;
  struct stat directory;

  self->directory_fd =
      open (self->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (self->directory_fd >= 0)
    self->fd = openat (self->directory_fd, self->parent.label,
                       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (self->fd < 0 || fstat (self->fd, &file) < 0
      || fstat (self->directory_fd, &directory) < 0)
    return snap_error_set_errno (error, errno, "%s", self->parent.location);
  if (!S_ISREG (file.st_mode) || file.st_dev != directory.st_dev)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: not a plain file of the file system that its "
                           "directory lies on",
                           self->parent.location);
  self->origin = reflink_origin (self->fd);
  self->reserved = (SnapReserved){ .parent_fd = self->directory_fd,
                                   .where = self->directory,
                                   .name = self->reserved_name };
  self->parent.id =
      g_strdup_printf ("%" G_GINT64_MODIFIER "x:%" G_GINT64_MODIFIER "u/%s",
                       (guint64) directory.st_dev, (guint64) directory.st_ino,
                       self->parent.label);
  return TRUE;
}

static SnapVolume *
reflink_open (const char *location, const char *part,
              const SnapOpenOptions *options, GError **error)
{
  g_autoptr (ReflinkVolume) self = g_new0 (ReflinkVolume, 1);

  self->parent.driver = &snap_driver_reflink;
  self->parent.location = g_strdup (location);
  self->fd = self->directory_fd = -1;
  self->reserved_name =
      g_strdup (options->snapshot_dir != NULL ? options->snapshot_dir
                                              : SNAP_RESERVED_NAME);
  self->force = options->force;
  self->warn = options->warn;
  self->warn_data = options->warn_data;
  if (part != NULL) {
    snap_error_set (error, SNAP_ERROR_USAGE, "%s#%s: a file has no parts",
                    location, part);
    return NULL;
  }
  if (!locate (self, error) || !open_both (self, error))
    return NULL;
  return &g_steal_pointer (&self)->parent;
}

/* ---- points ---- */

static gint
compare_time (gconstpointer a, gconstpointer b)
{
  const SnapPoint *x = *(SnapPoint *const *) a;
  const SnapPoint *y = *(SnapPoint *const *) b;

  if (x->time_us != y->time_us)
    return x->time_us < y->time_us ? -1 : 1;
  return strcmp (x->handle, y->handle);
}

static GPtrArray *
reflink_list (SnapVolume *volume, GError **error)
{
  const ReflinkVolume *self = (ReflinkVolume *) volume;
  g_autoptr (GPtrArray) points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);
  g_autoptr (GPtrArray) names = NULL;
  snap_autofd int shelf = -1;

  if (!reflink_shelf_open (&self->reserved, volume->label, &shelf, error))
    return NULL;
  if (shelf < 0)
    return g_steal_pointer (&points);
  names = snap_directory_list (shelf, volume->location, error);
  if (names == NULL)
    return NULL;
  for (guint i = 0; i < names->len; i++) {
    SnapPoint *point = reflink_point_new (shelf, names->pdata[i]);

    if (point != NULL)
      g_ptr_array_add (points, point);
  }
  g_ptr_array_sort (points, compare_time);
  return g_steal_pointer (&points);
}

static SnapPoint *
reflink_special (SnapVolume *volume, SnapPointKind kind, GError **error)
{
  const ReflinkVolume *self = (ReflinkVolume *) volume;
  SnapPoint *point;
  struct stat st;

  if (kind != SNAP_POINT_LIVE) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no backing file",
                    volume->location);
    return NULL;
  }
  if (fstat (self->fd, &st) < 0) {
    snap_error_set_errno (error, errno, "%s", volume->location);
    return NULL;
  }
  point = snap_point_new (SNAP_POINT_LIVE, "live");
  point->id = g_strdup (self->origin);
  point->size = st.st_size;
  return point;
}

/* The live file is read through a clone, so that it stands still. */
static SnapImage *
reflink_open_image (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  const ReflinkVolume *self = (ReflinkVolume *) volume;
  g_autofree char *name =
      g_strdup_printf ("%s@%s", volume->location, point->name);
  int fd = -1;

  if (point->kind == SNAP_POINT_SNAPSHOT)
    fd = reflink_point_open (self, point, error);
  else if (point->kind == SNAP_POINT_LIVE)
    fd = reflink_clone_live (self, error);
  else
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s: only snapshots and the live file can be read", name);
  return fd >= 0 ? snap_plain_image_take (fd, name, error) : NULL;
}

const SnapDriver snap_driver_reflink = {
  SNAP_DRIVER_INIT,
  .name = "reflink",
  .description = "clones of a file that share its blocks (XFS and others)",
  .probe = reflink_probe,
  .open = reflink_open,
  .close = reflink_close,
  .list = reflink_list,
  .special = reflink_special,
  .remove = reflink_remove,
  .plan = reflink_plan,
  .prepare = reflink_prepare,
  .cut = reflink_cut,
  .commit = reflink_commit,
  .abort = reflink_abort,
  .free_cut = reflink_free_cut,
  .recover = reflink_recover,
  .comparable = reflink_comparable,
  .diff = reflink_diff,
  .open_image = reflink_open_image,
  .sweep = reflink_sweep,
};
