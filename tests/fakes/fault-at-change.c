/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A library to preload: a fault at the FAULT_AT'th call that changes, or may
 * change, what a file system, a device or a lock holds, or that starts a child.
 * With FAULT_ERRNO, the call fails with it; without, the process is killed, or
 * FAULT_DO happens: kill or stop, or that to others: "kill-parent",
 * "stop-group", "kill-owner,kill-group".
 *
 *   FAULT_IN=PROGRAM   count in processes of that name only
 *   FAULT_CALL=NAME    count calls of that name only
 *   FAULT_OWNER=PID    who "owner" is
 *   FAULT_LOG=FILE     append the program and name of every such call
 *
 * For programs that cut snapshots themselves, by ioctl, and for LVM's; the
 * tools that are run for qcow2 have kill-at-write.
 */
#undef _FORTIFY_SOURCE
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/btrfs.h>
#include <linux/dm-ioctl.h>
#include <linux/fcntl.h> /* without prototypes, which have "..." */
#include <linux/fs.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static atomic_int n_calls;

/* Whether a variable is not set, or is @value. */
static int
is_or_unset (const char *variable, const char *value)
{
  const char *wanted = getenv (variable);

  return wanted == NULL || strcmp (wanted, value) == 0;
}

/* A write to an eventfd, of no file system, changes nothing. */
static int
is_wakeup (int fd)
{
  struct stat file;

  return fstat (fd, &file) == 0 && (file.st_mode & S_IFMT) == 0;
}

static void
add_to_log (const char *name)
{
  const char *path = getenv ("FAULT_LOG");
  int fd;

  if (path == NULL)
    return;
  fd =
      syscall (SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  dprintf (fd, "%s %s\n", program_invocation_short_name, name);
  close (fd);
}

static pid_t
find_victim (const char *what)
{
  const char *owner = getenv ("FAULT_OWNER");

  if (strstr (what, "-parent") != NULL)
    return getppid ();
  if (strstr (what, "-owner") != NULL && owner != NULL)
    return atoi (owner);
  if (strstr (what, "-group") != NULL)
    return 0;
  return getpid ();
}

static void
happen (void)
{
  const char *what = getenv ("FAULT_DO");
  char list[100];

  snprintf (list, sizeof list, "%s", what != NULL ? what : "kill");
  for (char *word = strtok (list, ","); word != NULL; word = strtok (NULL, ","))
    kill (find_victim (word),
          strncmp (word, "stop", 4) == 0 ? SIGSTOP : SIGKILL);
}

/* Where it was goes to standard output, for whoever wants to know. */
static int
is_faulty (const char *name)
{
  const char *limit = getenv ("FAULT_AT");
  const char *code = getenv ("FAULT_ERRNO");

  add_to_log (name);
  if (!is_or_unset ("FAULT_IN", program_invocation_short_name)
      || !is_or_unset ("FAULT_CALL", name))
    return 0;
  if (limit == NULL || atomic_fetch_add (&n_calls, 1) + 1 != atoi (limit))
    return 0;
  dprintf (STDOUT_FILENO, "fault at %s\n", name);
  if (code == NULL)
    happen ();
  else
    errno = atoi (code);
  return code != NULL;
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
  case DM_DEV_CREATE:
  case DM_DEV_REMOVE:
  case DM_DEV_RENAME:
  case DM_DEV_SUSPEND: /* and resume */
  case DM_TABLE_CLEAR:
  case DM_TABLE_LOAD:
  case DM_TARGET_MSG:
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
COUNTED_IF (fd > STDERR_FILENO && !is_wakeup (fd), ssize_t, write,
            (int fd, const void *data, size_t n), (fd, data, n))

COUNTED (ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags),
         (fd, message, flags)) /* what QEMU is told to do */
COUNTED (ssize_t, pwrite, (int fd, const void *data, size_t n, off_t at),
         (fd, data, n, at))

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

COUNTED (pid_t, fork, (void), ())
COUNTED (int, mknod, (const char *path, mode_t mode, dev_t device),
         (path, mode, device))
COUNTED (int, symlink, (const char *to, const char *path), (to, path))
COUNTED (int, io_submit, (void *context, long n, void **requests),
         (context, n, requests)) /* libaio: how lvm writes its metadata */
