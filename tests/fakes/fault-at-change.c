/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A library to preload: a fault at the FAULT_AT'th call that changes, or may
 * change, what a file system or a lock holds.  With FAULT_ERRNO, the call
 * fails with it; without, the process is killed.
 *
 * For programs that cut snapshots themselves, by ioctl; the tools that are run
 * for qcow2 have kill-at-write.
 */
#undef _FORTIFY_SOURCE
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/btrfs.h>
#include <linux/fcntl.h> /* without prototypes, which have "..." */
#include <linux/fs.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static atomic_int n_calls;

/* Where it was goes to standard output, for whoever wants to know. */
static int
is_faulty (const char *name)
{
  const char *limit = getenv ("FAULT_AT");
  const char *code = getenv ("FAULT_ERRNO");

  if (limit == NULL || atomic_fetch_add (&n_calls, 1) + 1 != atoi (limit))
    return 0;
  dprintf (STDOUT_FILENO, "fault at %s\n", name);
  if (code == NULL)
    raise (SIGKILL);
  else
    errno = atoi (code);
  return 1;
}

/* Most ioctls only ask for something. */
static int
changes (unsigned long request)
{
  switch (request) {
  case FICLONE:
  case BTRFS_IOC_SNAP_CREATE_V2:
  case BTRFS_IOC_SNAP_DESTROY:
  case BTRFS_IOC_SNAP_DESTROY_V2:
  case BTRFS_IOC_START_SYNC:
  case BTRFS_IOC_SUBVOL_SETFLAGS:
  case BTRFS_IOC_SYNC:
  case BTRFS_IOC_WAIT_SYNC:
    return 1;
  default:
    return 0;
  }
}

/* Define NAME as a call of the next definition of it; counted if CONDITION
   holds. */
#define COUNTED_IF(condition, type, name, parameters, arguments)              \
  type name parameters;                                                       \
  type name parameters                                                        \
  {                                                                           \
    type (*next) parameters = (type (*) parameters) dlsym (RTLD_NEXT, #name); \
                                                                              \
    return (condition) && is_faulty (#name) ? -1 : next arguments;            \
  }
#define COUNTED(type, name, parameters, arguments) \
  COUNTED_IF (1, type, name, parameters, arguments)

/* Of the calls that open, those that make or empty a file. */
#define MAKES(flags) \
  ((flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))) != 0)

COUNTED_IF (MAKES (flags), int, open,
            (const char *path, int flags, mode_t mode), (path, flags, mode))
COUNTED_IF (MAKES (flags), int, open64,
            (const char *path, int flags, mode_t mode), (path, flags, mode))
COUNTED_IF (MAKES (flags), int, openat,
            (int fd, const char *path, int flags, mode_t mode),
            (fd, path, flags, mode))
COUNTED_IF (MAKES (flags), int, openat64,
            (int fd, const char *path, int flags, mode_t mode),
            (fd, path, flags, mode))
COUNTED_IF (fd > STDERR_FILENO, ssize_t, write,
            (int fd, const void *data, size_t n), (fd, data, n))

COUNTED_IF (changes (request), int, ioctl,
            (int fd, unsigned long request, void *argument),
            (fd, request, argument))
COUNTED (int, mkdir, (const char *path, mode_t mode), (path, mode))
COUNTED (int, mkdirat, (int fd, const char *path, mode_t mode),
         (fd, path, mode))
COUNTED (int, rmdir, (const char *path), (path))
COUNTED (int, unlink, (const char *path), (path))
COUNTED (int, unlinkat, (int fd, const char *path, int flags),
         (fd, path, flags))
COUNTED (int, rename, (const char *from, const char *to), (from, to))
COUNTED (int, renameat2,
         (int from_fd, const char *from, int to_fd, const char *to,
          unsigned flags),
         (from_fd, from, to_fd, to, flags))
COUNTED (int, fsetxattr,
         (int fd, const char *name, const void *value, size_t length,
          int flags),
         (fd, name, value, length, flags))
COUNTED (int, fchmod, (int fd, mode_t mode), (fd, mode))
COUNTED (int, futimens, (int fd, const struct timespec times[2]), (fd, times))
COUNTED (int, flock, (int fd, int operation), (fd, operation))
COUNTED (int, ftruncate, (int fd, off_t length), (fd, length))
COUNTED (int, fsync, (int fd), (fd))
COUNTED (int, fdatasync, (int fd), (fd))
