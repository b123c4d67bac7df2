/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes and what they mean: QEMU block/file-posix.c, RAW_LOCK_PERM_BASE
 * and RAW_LOCK_SHARED_BASE; the numbers of the permissions: QEMU
 * include/block/block-common.h, BLK_PERM_*.
 */
#include "config.h"

#include "snapshot-core/os/image-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"

enum {
  USES = 100,    /* + permission: somebody uses it */
  FORBIDS = 200, /* + permission: somebody forbids it to others */

  CONSISTENT_READ = 0,
  WRITE = 1,
  RESIZE = 3,
};

/* What a reader takes: it reads, and forbids writing and resizing. */
static const int taken[] = {
  USES + CONSISTENT_READ,
  FORBIDS + WRITE,
  FORBIDS + RESIZE,
};

/* What a reader cannot go together with. */
static const struct {
  int byte;
  const char *text;
} conflicts[] = {
  { USES + WRITE, "\"write\" lock" },
  { USES + RESIZE, "\"resize\" lock" },
  { FORBIDS + CONSISTENT_READ, "lock against \"consistent read\"" },
};

static struct flock
lock_on_byte (int byte, short type)
{
  return (struct flock){
    .l_type = type,
    .l_whence = SEEK_SET,
    .l_start = byte,
    .l_len = 1,
  };
}

static gboolean
take_locks (int fd, const char *name, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (taken); i++) {
    struct flock lock = lock_on_byte (taken[i], F_RDLCK);

    if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
      continue;
    if (errno == EAGAIN || errno == EACCES)
      return snap_error_set (error, SNAP_ERROR_BUSY,
                             "%s: in use by another process (exclusive lock "
                             "on byte %d)",
                             name, taken[i]);
    return snap_error_set_errno (error, errno, "%s: image lock", name);
  }
  return TRUE;
}

/* All users lock first and look afterwards, so of two that do not go
   together at least one sees the other. */
static gboolean
check_conflicts (int fd, const char *name, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (conflicts); i++) {
    struct flock lock = lock_on_byte (conflicts[i].byte, F_WRLCK);

    if (fcntl (fd, F_OFD_GETLK, &lock) < 0)
      return snap_error_set_errno (error, errno, "%s: image lock", name);
    if (lock.l_type != F_UNLCK)
      return snap_error_set (error, SNAP_ERROR_BUSY,
                             "%s: in use by another process (QEMU %s)", name,
                             conflicts[i].text);
  }
  return TRUE;
}

gboolean
snap_image_lock_read (int fd, const char *name, GError **error)
{
  /* Looking first spares a writer that is there from meeting our locks. */
  if (check_conflicts (fd, name, error) && take_locks (fd, name, error)
      && check_conflicts (fd, name, error))
    return TRUE;
  snap_image_unlock (fd);
  return FALSE;
}

/* O_NONBLOCK, so that a FIFO in the place of an image cannot hang us. */
int
snap_image_open_read (const char *path, GError **error)
{
  snap_autofd int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;

  if (fd < 0 || fstat (fd, &st) < 0) {
    snap_error_set_errno (error, errno, "%s", path);
    return -1;
  }
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s: not a file or block device", path);
    return -1;
  }
  return snap_image_lock_read (fd, path, error) ? snap_fd_steal (&fd) : -1;
}

void
snap_image_unlock (int fd)
{
  for (gsize i = 0; i < G_N_ELEMENTS (taken); i++) {
    struct flock lock = lock_on_byte (taken[i], F_UNLCK);

    fcntl (fd, F_OFD_SETLK, &lock);
  }
}
