/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/reflink/reflink.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/drivers/plain-image.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-identity.h"
#include "snapshot-core/os/path.h"
#include "snapshot-core/os/reflink.h"

/* ---- the snapshots ---- */

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
open_directory (ReflinkVolume *self, GError **error)
{
  g_autofree char *path = snap_path_resolve (self->parent.location);

  if (path != NULL) {
    self->directory = g_path_get_dirname (path);
    self->parent.label = g_path_get_basename (path);
    self->directory_fd =
        open (self->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  if (self->directory_fd < 0)
    return snap_error_set_errno (error, errno, "%s", self->parent.location);
  self->reserved = (SnapReserved){ .parent_fd = self->directory_fd,
                                   .where = self->directory,
                                   .name = self->reserved_name };
  return TRUE;
}

/* A file that is gone is a volume for as long as there are clones of it; they
   are found by where it was.  Nobody else can tell that its location is a
   path. */
static void
make_absolute (SnapVolume *volume)
{
  g_autofree char *location = volume->location;

  volume->location = snap_path_absolute (location);
}

static gboolean
open_file (ReflinkVolume *self, GError **error)
{
  struct stat file;
  struct stat directory;

  /* O_NONBLOCK, so that a FIFO in the place of a file cannot hang us. */
  self->fd = openat (self->directory_fd, self->parent.label,
                     O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (self->fd < 0 && errno == ENOENT) {
    make_absolute (&self->parent);
    return TRUE;
  }
  if (self->fd < 0 || fstat (self->fd, &file) < 0
      || fstat (self->directory_fd, &directory) < 0)
    return snap_error_set_errno (error, errno, "%s", self->parent.location);
  if (!S_ISREG (file.st_mode) || file.st_dev != directory.st_dev)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: not a plain file of the file system that its "
                           "directory lies on",
                           self->parent.location);
  self->origin = reflink_origin (self->fd);
  return TRUE;
}

static gboolean
identify (ReflinkVolume *self, GError **error)
{
  g_autofree char *directory = snap_file_identity (self->directory_fd, error);

  if (directory == NULL) {
    g_prefix_error (error, "%s: ", self->parent.location);
    return FALSE;
  }
  self->parent.id = g_strconcat (directory, "/", self->parent.label, NULL);
  return TRUE;
}

static gboolean
check_id (const ReflinkVolume *self, const char *id, GError **error)
{
  return g_str_equal (self->parent.id, id)
         || snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                            "%s: the directory that it was in is not there",
                            self->parent.location);
}

static gboolean
check_there (ReflinkVolume *self, GError **error)
{
  g_autoptr (GPtrArray) points = NULL;

  if (self->fd >= 0)
    return TRUE;
  points = reflink_list (&self->parent, error);
  if (points == NULL)
    return FALSE;
  return points->len > 0
         || snap_error_set_errno (error, ENOENT, "%s", self->parent.location);
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
  if (!open_directory (self, error) || !open_file (self, error)
      || !identify (self, error)
      || !(options->volume_id != NULL
               ? check_id (self, options->volume_id, error)
               : check_there (self, error)))
    return NULL;
  return &g_steal_pointer (&self)->parent;
}

/* btrfs has something better; here it must be asked for by name. */
static int
reflink_probe (const char *location)
{
  const SnapOpenOptions options = { .mode = SNAP_OPEN_READ };
  SnapVolume *volume = reflink_open (location, NULL, &options, NULL);
  int score = 0;

  if (volume == NULL)
    return 0;
  if (snap_fs_kind (((ReflinkVolume *) volume)->directory_fd)
      == SNAP_FS_REFLINK)
    score = 40;
  reflink_close (volume);
  return score;
}

/* ---- points ---- */

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

static char *
reflink_plain_path (SnapVolume *volume, const SnapPoint *point)
{
  const ReflinkVolume *self = (ReflinkVolume *) volume;
  snap_autofd int fd = -1;

  if (point->kind != SNAP_POINT_SNAPSHOT)
    return NULL;
  fd = reflink_point_open (self, point, NULL);
  if (fd < 0)
    return NULL;
  return g_build_filename (self->directory, self->reserved_name, volume->label,
                           point->handle, NULL);
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
  .plain_path = reflink_plain_path,
  .settle = reflink_settle,
};
