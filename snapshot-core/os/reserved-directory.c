/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/reserved-directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"

/* The mark; its value is the version of what is inside. */
#define MARK_NAME "user.nbdsnap.directory"
#define MARK_VALUE "1"

/* What it is called until it is marked. */
#define UNMARKED_NAME SNAP_RESERVED_NAME "-new"

#define RETRY_US 20000
/* Nobody keeps the parent locked for longer than it takes to make or remove
   an empty directory. */
#define PARENT_TIMEOUT_MS 10000

static int
open_directory (int parent_fd, const char *name)
{
  return openat (parent_fd, name,
                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* ---- opening ---- */

static gboolean
refuse_foreign (const char *where, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "%s/%s: is not a directory that nbdsnap made", where,
                         SNAP_RESERVED_NAME);
}

static gboolean
check_mark (int fd, const char *where, GError **error)
{
  char value[sizeof MARK_VALUE];
  gssize length = fgetxattr (fd, MARK_NAME, value, sizeof value);

  if (length == sizeof MARK_VALUE - 1 && value[0] == MARK_VALUE[0])
    return TRUE;
  if (length < 0 && errno != ENODATA && errno != ERANGE && errno != EOPNOTSUPP)
    return snap_error_set_errno (error, errno, "%s/%s", where,
                                 SNAP_RESERVED_NAME);
  return refuse_foreign (where, error);
}

gboolean
snap_reserved_open (int parent_fd, const char *where, int *fd, GError **error)
{
  snap_autofd int opened = open_directory (parent_fd, SNAP_RESERVED_NAME);

  *fd = -1;
  if (opened < 0 && errno == ENOENT)
    return TRUE;
  if (opened < 0 && (errno == ENOTDIR || errno == ELOOP))
    return refuse_foreign (where, error);
  if (opened < 0)
    return snap_error_set_errno (error, errno, "%s/%s", where,
                                 SNAP_RESERVED_NAME);
  if (!check_mark (opened, where, error))
    return FALSE;
  *fd = snap_fd_steal (&opened);
  return TRUE;
}

/* ---- the lock ---- */

static gboolean
is_removed (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 && st.st_nlink == 0;
}

/* flock, because a record lock wants a file that is open for writing. */
int
snap_reserved_lock (int fd, const char *where, guint timeout_ms, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (timeout_ms);
  snap_autofd int lock = open_directory (fd, ".");

  while (lock >= 0 && flock (lock, LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK) {
      snap_error_set_errno (error, errno, "%s/%s: lock", where,
                            SNAP_RESERVED_NAME);
      return -1;
    }
    if (snap_deadline_left_ms (deadline) == 0) {
      snap_error_set (error, SNAP_ERROR_BUSY,
                      "%s/%s: somebody is creating or deleting a snapshot",
                      where, SNAP_RESERVED_NAME);
      return -1;
    }
    g_usleep (RETRY_US);
  }
  if (lock >= 0 && !is_removed (lock))
    return snap_fd_steal (&lock);
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s/%s: was removed meanwhile",
                  where, SNAP_RESERVED_NAME);
  return -1;
}

/* ---- making ---- */

/* Under the parent's lock, so that nobody's unmarked directory is taken for a
   leftover. */
static gboolean
make_marked (int parent_fd, const char *where, GError **error)
{
  snap_autofd int fd = -1;

  if (unlinkat (parent_fd, UNMARKED_NAME, AT_REMOVEDIR) < 0 && errno != ENOENT)
    return snap_error_set_errno (error, errno, "%s/%s", where, UNMARKED_NAME);
  if (mkdirat (parent_fd, UNMARKED_NAME, 0700) == 0)
    fd = open_directory (parent_fd, UNMARKED_NAME);
  if (fd >= 0
      && fsetxattr (fd, MARK_NAME, MARK_VALUE, sizeof MARK_VALUE - 1, 0) == 0
      && renameat2 (parent_fd, UNMARKED_NAME, parent_fd, SNAP_RESERVED_NAME,
                    RENAME_NOREPLACE)
             == 0)
    return TRUE;
  snap_error_set_errno (error, errno, "%s/%s", where, SNAP_RESERVED_NAME);
  unlinkat (parent_fd, UNMARKED_NAME, AT_REMOVEDIR);
  return FALSE;
}

int
snap_reserved_make (int parent_fd, const char *where, GError **error)
{
  snap_autofd int lock = -1;
  int fd = -1;

  if (!snap_reserved_open (parent_fd, where, &fd, error) || fd >= 0)
    return fd;
  lock = snap_reserved_lock (parent_fd, where, PARENT_TIMEOUT_MS, error);
  if (lock < 0 || !snap_reserved_open (parent_fd, where, &fd, error) || fd >= 0)
    return fd;
  if (!make_marked (parent_fd, where, error)
      || !snap_reserved_open (parent_fd, where, &fd, error))
    return -1;
  if (fd < 0)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s/%s: was removed meanwhile",
                    where, SNAP_RESERVED_NAME);
  return fd;
}

static gboolean
remove_if_empty (int parent_fd, const char *where, const char *name,
                 GError **error)
{
  if (unlinkat (parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT
      || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s/%s", where, name);
}

gboolean
snap_reserved_discard (int parent_fd, const char *where, GError **error)
{
  snap_autofd int lock =
      snap_reserved_lock (parent_fd, where, PARENT_TIMEOUT_MS, error);
  snap_autofd int fd = -1;

  if (lock < 0 || !remove_if_empty (parent_fd, where, UNMARKED_NAME, error)
      || !snap_reserved_open (parent_fd, where, &fd, error))
    return FALSE;
  return fd < 0
         || remove_if_empty (parent_fd, where, SNAP_RESERVED_NAME, error);
}

/* ---- listing ---- */

static gboolean
is_dots (const char *name)
{
  return name[0] == '.'
         && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

GPtrArray *
snap_directory_list (int fd, const char *where, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  int own = open_directory (fd, "."); /* readdir moves the position */
  DIR *directory = own >= 0 ? fdopendir (own) : NULL;
  const struct dirent *entry;

  if (directory == NULL) {
    snap_error_set_errno (error, errno, "%s", where);
    snap_fd_clear (&own);
    return NULL;
  }
  for (errno = 0; (entry = readdir (directory)) != NULL; errno = 0)
    if (!is_dots (entry->d_name))
      g_ptr_array_add (names, g_strdup (entry->d_name));
  if (errno != 0) {
    snap_error_set_errno (error, errno, "%s", where);
    closedir (directory);
    return NULL;
  }
  closedir (directory);
  return g_steal_pointer (&names);
}
