/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/btrfs-subvolume.h"

#include <btrfsutil.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"

/* libbtrfsutil leaves the cause in errno. */
static gboolean
util_failed (enum btrfs_util_error code, int errnum, GError **error)
{
  const char *what = btrfs_util_strerror (code);

  if (errnum == EEXIST)
    return snap_error_set (error, SNAP_ERROR_EXISTS, "%s: exists already",
                           what);
  if (errnum == EPERM || errnum == EACCES || errnum == EROFS
      || errnum == ETXTBSY)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: %s", what,
                           g_strerror (errnum));
  return snap_error_set_errno (error, errnum, "%s", what);
}

/* ---- what a subvolume is ---- */

static gint64
to_us (const struct btrfs_ioctl_timespec *time)
{
  return (gint64) time->sec * G_USEC_PER_SEC + time->nsec / 1000;
}

/* The ioctl, because libbtrfsutil would need privileges where this needs
   none. */
gboolean
snap_btrfs_subvolume_read (int fd, SnapBtrfsSubvolume *subvolume,
                           GError **error)
{
  struct btrfs_ioctl_get_subvol_info_args info = { 0 };

  if (ioctl (fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0)
    return snap_error_set_errno (error, errno, "subvolume information");
  *subvolume = (SnapBtrfsSubvolume){
    .id = info.treeid,
    .generation = info.generation,
    .created = info.otransid,
    .changed = info.ctransid,
    .time_us = to_us (&info.otime),
    .read_only = (info.flags & BTRFS_ROOT_SUBVOL_RDONLY) != 0,
  };
  memcpy (subvolume->uuid, info.uuid, SNAP_BTRFS_UUID_LENGTH);
  memcpy (subvolume->parent_uuid, info.parent_uuid, SNAP_BTRFS_UUID_LENGTH);
  return TRUE;
}

gboolean
snap_btrfs_subvolume_was_changed (const SnapBtrfsSubvolume *self)
{
  return self->changed > self->created;
}

gboolean
snap_btrfs_subvolume_generation (int fd, guint64 id, guint64 *generation,
                                 GError **error)
{
  struct btrfs_util_subvolume_info info;
  enum btrfs_util_error code = btrfs_util_subvolume_info_fd (fd, id, &info);

  if (code != BTRFS_UTIL_OK)
    return util_failed (code, errno, error);
  *generation = info.generation;
  return TRUE;
}

char *
snap_btrfs_uuid_format (const guint8 *uuid)
{
  GString *text = g_string_new (NULL);

  for (gsize i = 0; i < SNAP_BTRFS_UUID_LENGTH; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      g_string_append_c (text, '-');
    g_string_append_printf (text, "%02x", uuid[i]);
  }
  return g_string_free (text, FALSE);
}

/* ---- making and deleting ---- */

gboolean
snap_btrfs_snapshot (int top_fd, int directory_fd, const char *name,
                     GError **error)
{
  enum btrfs_util_error code = btrfs_util_create_snapshot_fd2 (
      top_fd, directory_fd, name, BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY, NULL,
      NULL);

  return code == BTRFS_UTIL_OK || util_failed (code, errno, error);
}

static gboolean
delete_failed (enum btrfs_util_error code, int errnum, GError **error)
{
  if (errnum != EPERM)
    return util_failed (code, errnum, error);
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "deleting it needs CAP_SYS_ADMIN, or the mount option "
                         "user_subvol_rm_allowed");
}

/* FALSE with errno, and as it was before. */
static gboolean
delete_writable (int directory_fd, const char *name,
                 enum btrfs_util_error *code)
{
  snap_autofd int fd = openat (directory_fd, name,
                               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int errnum;

  if (fd < 0)
    return FALSE;
  *code = btrfs_util_set_subvolume_read_only_fd (fd, false);
  if (*code == BTRFS_UTIL_OK)
    *code = btrfs_util_delete_subvolume_fd (directory_fd, name, 0);
  if (*code == BTRFS_UTIL_OK)
    return TRUE;
  errnum = errno;
  btrfs_util_set_subvolume_read_only_fd (fd, true);
  errno = errnum;
  return FALSE;
}

/*
 * An owner without CAP_SYS_ADMIN must make a subvolume writable to delete it.
 * It gets another name first: nobody is to take for a snapshot, or keep, what
 * is writable because somebody was killed here.
 */
static gboolean
delete_as_owner (int directory_fd, const char *name, GError **error)
{
  g_autofree char *gone = g_strdup_printf (SNAP_BTRFS_GONE_PREFIX "%08x%08x",
                                           g_random_int (), g_random_int ());
  enum btrfs_util_error code = BTRFS_UTIL_ERROR_SNAP_DESTROY_FAILED;
  int errnum;

  if (renameat2 (directory_fd, name, directory_fd, gone, RENAME_NOREPLACE) < 0)
    return snap_error_set_errno (error, errno, "%s: rename", name);
  if (delete_writable (directory_fd, gone, &code))
    return TRUE;
  errnum = errno;
  renameat2 (directory_fd, gone, directory_fd, name, RENAME_NOREPLACE);
  return delete_failed (code, errnum, error);
}

static gboolean
is_mounted_read_only (int fd)
{
  struct statvfs fs;

  return fstatvfs (fd, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0;
}

gboolean
snap_btrfs_delete (int directory_fd, const char *name, GError **error)
{
  enum btrfs_util_error code =
      btrfs_util_delete_subvolume_fd (directory_fd, name, 0);
  int errnum = errno;

  if (code == BTRFS_UTIL_OK)
    return TRUE;
  if (errnum == EROFS && !is_mounted_read_only (directory_fd))
    return delete_as_owner (directory_fd, name, error);
  return delete_failed (code, errnum, error);
}

gboolean
snap_btrfs_sync (int fd, GError **error)
{
  enum btrfs_util_error code = btrfs_util_sync_fd (fd);

  return code == BTRFS_UTIL_OK || util_failed (code, errno, error);
}
