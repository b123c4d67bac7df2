/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/reserved-directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
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

/* What it is called until it is marked, whatever its name will be. */
#define UNMARKED_NAME ".nbdsnap-new"

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

/* ---- the name ---- */

static gboolean
is_dots (const char *name)
{
  return name[0] == '.'
         && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

const char *
snap_reserved_name_fault (const char *name)
{
  if (*name == '\0')
    return "is empty";
  if (strchr (name, '/') != NULL)
    return "is a path, not a name";
  if (is_dots (name))
    return "is no name of its own";
  if (strlen (name) > NAME_MAX)
    return "is longer than a file name may be";
  if (strcmp (name, UNMARKED_NAME) == 0)
    return "is kept for directories that are half made";
  return NULL;
}

/* ---- opening ---- */

static gboolean
refuse_foreign (const SnapReserved *self, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "%s/%s: is not a directory that nbdsnap made",
                         self->where, self->name);
}

static gboolean
failed (const SnapReserved *self, int errnum, GError **error)
{
  return snap_error_set_errno (error, errnum, "%s/%s", self->where, self->name);
}

static gboolean
check_mark (const SnapReserved *self, int fd, GError **error)
{
  char value[sizeof MARK_VALUE];
  gssize length = fgetxattr (fd, MARK_NAME, value, sizeof value);

  if (length == sizeof MARK_VALUE - 1 && value[0] == MARK_VALUE[0])
    return TRUE;
  if (length < 0 && errno != ENODATA && errno != ERANGE && errno != EOPNOTSUPP)
    return failed (self, errno, error);
  return refuse_foreign (self, error);
}

gboolean
snap_reserved_open (const SnapReserved *self, int *fd, GError **error)
{
  snap_autofd int opened = open_directory (self->parent_fd, self->name);

  *fd = -1;
  if (opened < 0 && errno == ENOENT)
    return TRUE;
  if (opened < 0 && (errno == ENOTDIR || errno == ELOOP))
    return refuse_foreign (self, error);
  if (opened < 0)
    return failed (self, errno, error);
  if (!check_mark (self, opened, error))
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
snap_reserved_lock (const SnapReserved *self, int fd, guint timeout_ms,
                    GError **error)
{
  SnapDeadline deadline = snap_deadline_in (timeout_ms);
  snap_autofd int lock = open_directory (fd, ".");

  while (lock >= 0 && flock (lock, LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK) {
      snap_error_set_errno (error, errno, "%s/%s: lock", self->where,
                            self->name);
      return -1;
    }
    if (snap_deadline_left_ms (deadline) == 0) {
      snap_error_set (error, SNAP_ERROR_BUSY,
                      "%s/%s: somebody is creating or deleting a snapshot",
                      self->where, self->name);
      return -1;
    }
    g_usleep (RETRY_US);
  }
  if (lock >= 0 && !is_removed (lock))
    return snap_fd_steal (&lock);
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s/%s: was removed meanwhile",
                  self->where, self->name);
  return -1;
}

static int
lock_parent (const SnapReserved *self, GError **error)
{
  return snap_reserved_lock (self, self->parent_fd, PARENT_TIMEOUT_MS, error);
}

/* ---- making ---- */

/* Under the parent's lock, so that nobody's unmarked directory is taken for a
   leftover. */
static gboolean
make_marked (const SnapReserved *self, GError **error)
{
  int parent_fd = self->parent_fd;
  snap_autofd int fd = -1;

  if (unlinkat (parent_fd, UNMARKED_NAME, AT_REMOVEDIR) < 0 && errno != ENOENT)
    return snap_error_set_errno (error, errno, "%s/%s", self->where,
                                 UNMARKED_NAME);
  if (mkdirat (parent_fd, UNMARKED_NAME, 0700) == 0)
    fd = open_directory (parent_fd, UNMARKED_NAME);
  if (fd >= 0
      && fsetxattr (fd, MARK_NAME, MARK_VALUE, sizeof MARK_VALUE - 1, 0) == 0
      && renameat2 (parent_fd, UNMARKED_NAME, parent_fd, self->name,
                    RENAME_NOREPLACE)
             == 0)
    return TRUE;
  failed (self, errno, error);
  unlinkat (parent_fd, UNMARKED_NAME, AT_REMOVEDIR);
  return FALSE;
}

int
snap_reserved_make (const SnapReserved *self, GError **error)
{
  snap_autofd int lock = -1;
  int fd = -1;

  if (!snap_reserved_open (self, &fd, error) || fd >= 0)
    return fd;
  lock = lock_parent (self, error);
  if (lock < 0 || !snap_reserved_open (self, &fd, error) || fd >= 0)
    return fd;
  if (!make_marked (self, error) || !snap_reserved_open (self, &fd, error))
    return -1;
  if (fd < 0)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s/%s: was removed meanwhile",
                    self->where, self->name);
  return fd;
}

static gboolean
remove_if_empty (const SnapReserved *self, const char *name, GError **error)
{
  if (unlinkat (self->parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT
      || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s/%s", self->where, name);
}

gboolean
snap_reserved_discard (const SnapReserved *self, GError **error)
{
  snap_autofd int lock = lock_parent (self, error);
  snap_autofd int fd = -1;

  if (lock < 0 || !remove_if_empty (self, UNMARKED_NAME, error)
      || !snap_reserved_open (self, &fd, error))
    return FALSE;
  return fd < 0 || remove_if_empty (self, self->name, error);
}

/* ---- listing ---- */

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
