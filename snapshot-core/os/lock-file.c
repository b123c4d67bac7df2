/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/lock-file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"

static struct flock
whole_file (SnapLockMode mode)
{
  return (struct flock){
    .l_type = mode == SNAP_LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
    .l_whence = SEEK_SET, /* from 0, length 0: all of the file */
  };
}

gboolean
snap_lock_fd (int fd, SnapLockMode mode, GError **error)
{
  struct flock lock = whole_file (mode);

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return TRUE;
  if (errno == EAGAIN || errno == EACCES)
    return snap_error_set (error, SNAP_ERROR_BUSY, "locked by somebody else");
  return snap_error_set_errno (error, errno, "lock");
}

/* Whoever held the lock before us may have removed the file, and somebody
   else made it anew: a lock on a file without a name protects nothing. */
static gboolean
still_names (const char *path, int fd)
{
  struct stat by_path, by_fd;

  return stat (path, &by_path) == 0 && fstat (fd, &by_fd) == 0
         && by_path.st_dev == by_fd.st_dev && by_path.st_ino == by_fd.st_ino;
}

int
snap_lock_file_take (const char *path, SnapLockMode mode, GError **error)
{
  for (;;) {
    snap_autofd int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) {
      snap_error_set_errno (error, errno, "%s", path);
      return -1;
    }
    if (!snap_lock_fd (fd, mode, error)) {
      g_prefix_error (error, "%s: ", path);
      return -1;
    }
    if (still_names (path, fd))
      return snap_fd_steal (&fd);
  }
}

gboolean
snap_lock_file_probe (const char *path, SnapLockMode mode, gboolean *busy,
                      GError **error)
{
  snap_autofd int fd = open (path, O_RDONLY | O_CLOEXEC);
  struct flock lock = whole_file (mode);

  *busy = FALSE;
  if (fd < 0 && errno == ENOENT)
    return TRUE;
  if (fd < 0 || fcntl (fd, F_OFD_GETLK, &lock) < 0)
    return snap_error_set_errno (error, errno, "%s", path);
  *busy = lock.l_type != F_UNLCK;
  return TRUE;
}
