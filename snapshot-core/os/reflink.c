/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/reflink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"

/* Not in the kernel headers of every release. */
#define BCACHEFS_MAGIC 0xca451a4e
#define OCFS2_MAGIC 0x7461636f

SnapFsKind
snap_fs_kind (int fd)
{
  struct statfs fs;

  if (fstatfs (fd, &fs) < 0)
    return SNAP_FS_OTHER;
  switch ((guint32) fs.f_type) {
  case BTRFS_SUPER_MAGIC:
    return SNAP_FS_BTRFS;
  case XFS_SUPER_MAGIC:
  case BCACHEFS_MAGIC:
  case OCFS2_MAGIC:
    return SNAP_FS_REFLINK;
  default:
    return SNAP_FS_OTHER;
  }
}

/* ---- clones ---- */

static gboolean
clone_failed (int errnum, GError **error)
{
  if (errnum == EOPNOTSUPP || errnum == ENOTTY || errnum == EXDEV)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "its file system cannot share blocks between files");
  return snap_error_set_errno (error, errnum, "clone");
}

gboolean
snap_reflink_clone (int to, int from, GError **error)
{
  if (ioctl (to, FICLONE, from) == 0)
    return TRUE;
  return clone_failed (errno, error);
}

int
snap_reflink_open_unnamed (int directory_fd, GError **error)
{
  int fd = openat (directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0)
    snap_error_set_errno (error, errno, "temporary file");
  return fd;
}

gboolean
snap_reflink_check (int directory_fd, GError **error)
{
  snap_autofd int from = snap_reflink_open_unnamed (directory_fd, error);
  snap_autofd int to =
      from >= 0 ? snap_reflink_open_unnamed (directory_fd, error) : -1;

  return to >= 0 && snap_reflink_clone (to, from, error);
}

/* ---- what a file is ---- */

guint32
snap_inode_generation (int fd)
{
  /* The kernel writes an int, whatever the request's name says. */
  guint32 room[2] = { 0 };

  return ioctl (fd, FS_IOC_GETVERSION, room) == 0 ? room[0] : 0;
}

gboolean
snap_is_realtime (int fd)
{
  struct fsxattr attributes = { 0 };

  return ioctl (fd, FS_IOC_FSGETXATTR, &attributes) == 0
         && (attributes.fsx_xflags & FS_XFLAG_REALTIME) != 0;
}
