/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "snapshot-core/os/beneath.h"
#include "snapshot-core/os/path.h"
#include "snapshot-core/os/reflink.h"

/* Where the subvolume's top is: up from the file as long as the device, which
   is one for each subvolume, stays the same. */
static char *
find_top (const char *path, dev_t device, GError **error)
{
  g_autofree char *at = g_path_get_dirname (path);
  struct stat st;

  for (;;) {
    char *above;

    if (stat (at, &st) < 0 || st.st_dev != device)
      break;
    if (st.st_ino == SNAP_BTRFS_TOP_INODE)
      return g_steal_pointer (&at);
    if (g_str_equal (at, "/"))
      break;
    above = g_path_get_dirname (at);
    g_free (at);
    at = above;
  }
  snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                  "%s: the top of its subvolume cannot be reached from here",
                  path);
  return NULL;
}

static const char *
path_below (const char *path, const char *top)
{
  path += strlen (top);
  return path + strspn (path, "/");
}

static gboolean
open_both (BtrfsVolume *self, GError **error)
{
  self->top_fd = open (self->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (self->top_fd < 0)
    return snap_error_set_errno (error, errno, "%s", self->top);
  self->fd = snap_open_beneath (self->top_fd, self->path);
  if (self->fd < 0 && errno != ENOENT)
    return snap_error_set_errno (error, errno, "%s", self->parent.location);
  if (snap_fs_kind (self->top_fd) != SNAP_FS_BTRFS)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: does not lie on btrfs", self->parent.location);
  if (snap_btrfs_subvolume_read (self->top_fd, &self->subvolume, error))
    return TRUE;
  g_prefix_error (error, "%s: ", self->parent.location);
  return FALSE;
}

/* The device that a plain file lies on; where there is no file, the one that
   it would lie on. */
static gboolean
find_device (const BtrfsVolume *self, const char *path, dev_t *device,
             GError **error)
{
  g_autofree char *directory = g_path_get_dirname (path);
  struct stat st;
  gboolean is_there = stat (path, &st) == 0;

  if (is_there && !S_ISREG (st.st_mode))
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: not a plain file", self->parent.location);
  if (!is_there && (errno != ENOENT || stat (directory, &st) < 0))
    return snap_error_set_errno (error, errno, "%s", self->parent.location);
  *device = st.st_dev;
  return TRUE;
}

/* A symbolic link is followed once, here: the snapshots are of the subvolume
   that the file itself lies in. */
static gboolean
find_file (BtrfsVolume *self, GError **error)
{
  g_autofree char *path = snap_path_resolve (self->parent.location);
  dev_t device = 0;

  if (path == NULL)
    return snap_error_set_errno (error, errno, "%s", self->parent.location);
  if (!find_device (self, path, &device, error))
    return FALSE;
  self->parent.label = g_path_get_basename (path);
  self->top = find_top (path, device, error);
  if (self->top == NULL)
    return FALSE;
  self->path = g_strdup (path_below (path, self->top));
  return TRUE;
}

/* Nobody else can tell that the location of a file that is gone is a path. */
static void
make_absolute (SnapVolume *volume)
{
  g_autofree char *location = volume->location;

  volume->location = snap_path_absolute (location);
}

gboolean
btrfs_volume_locate (BtrfsVolume *self, GError **error)
{
  g_autofree char *uuid = NULL;
  g_autofree char *escaped = NULL;

  if (!find_file (self, error) || !open_both (self, error))
    return FALSE;
  uuid = snap_btrfs_uuid_format (self->subvolume.uuid);
  escaped = g_uri_escape_string (self->path, "/", FALSE);
  self->member = btrfs_member_new (self->path);
  self->reserved = (SnapReserved){ .parent_fd = self->top_fd,
                                   .where = self->top,
                                   .name = self->reserved_name };
  self->parent.id = g_strconcat (uuid, "/", escaped, NULL);
  if (self->fd < 0)
    make_absolute (&self->parent);
  return TRUE;
}
