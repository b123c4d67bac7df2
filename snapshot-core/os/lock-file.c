/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/lock-file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"

/* Those who use the file lock all of it; the one who removes it does so from
   here on.  So whoever is refused can tell which of them is in the way. */
#define REMOVER_START 1

/* How long to leave one who removes the file alone before looking again. */
#define REMOVAL_US 1000

static struct flock
lock_from (off_t start, SnapLockMode mode)
{
  return (struct flock){
    .l_type = mode == SNAP_LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
    .l_whence = SEEK_SET,
    .l_start = start, /* length 0: all that follows */
  };
}

gboolean
snap_lock_fd (int fd, SnapLockMode mode, GError **error)
{
  struct flock lock = lock_from (0, mode);

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return TRUE;
  if (errno == EAGAIN || errno == EACCES)
    return snap_error_set (error, SNAP_ERROR_BUSY, "locked by somebody else");
  return snap_error_set_errno (error, errno, "lock");
}

/* Whether it was one who removes the file that refused us, or one who has let
   go since. */
static gboolean
is_let_go (int fd, SnapLockMode mode)
{
  struct flock lock = lock_from (0, mode);

  return fcntl (fd, F_OFD_GETLK, &lock) == 0
         && (lock.l_type == F_UNLCK || lock.l_start == REMOVER_START);
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

/* *locked stays FALSE where another try is due. */
static gboolean
try_lock (const char *path, int fd, SnapLockMode mode, gboolean *locked,
          GError **error)
{
  g_autoptr (GError) reason = NULL;

  *locked = FALSE;
  if (snap_lock_fd (fd, mode, &reason)) {
    *locked = still_names (path, fd);
    return TRUE;
  }
  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)
      && is_let_go (fd, mode)) {
    g_usleep (REMOVAL_US);
    return TRUE;
  }
  g_propagate_prefixed_error (error, g_steal_pointer (&reason), "%s: ", path);
  return FALSE;
}

int
snap_lock_file_take (const char *path, SnapLockMode mode, GError **error)
{
  for (;;) {
    snap_autofd int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    gboolean locked;

    if (fd < 0) {
      snap_error_set_errno (error, errno, "%s", path);
      return -1;
    }
    if (!try_lock (path, fd, mode, &locked, error))
      return -1;
    if (locked)
      return snap_fd_steal (&fd);
  }
}

void
snap_lock_file_remove (const char *path, int fd)
{
  struct flock lock = lock_from (REMOVER_START, SNAP_LOCK_EXCLUSIVE);

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    unlink (path);
}

void
snap_lock_file_sweep (const char *path)
{
  snap_autofd int fd = open (path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  struct flock lock = lock_from (REMOVER_START, SNAP_LOCK_EXCLUSIVE);

  if (fd >= 0 && fcntl (fd, F_OFD_SETLK, &lock) == 0 && still_names (path, fd))
    unlink (path);
}

gboolean
snap_lock_file_probe (const char *path, SnapLockMode mode, gboolean *busy,
                      GError **error)
{
  snap_autofd int fd = open (path, O_RDONLY | O_CLOEXEC);
  struct flock lock = lock_from (0, mode);

  *busy = FALSE;
  if (fd < 0 && errno == ENOENT)
    return TRUE;
  if (fd < 0 || fcntl (fd, F_OFD_GETLK, &lock) < 0)
    return snap_error_set_errno (error, errno, "%s", path);
  *busy = lock.l_type != F_UNLCK;
  return TRUE;
}
