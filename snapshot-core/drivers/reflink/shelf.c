/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/reflink/reflink.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snapshot-core/drivers/native-name.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/fiemap.h"
#include "snapshot-core/os/reflink.h"

#define ORIGIN_ATTRIBUTE "user.nbdsnap.origin"
#define MAX_ORIGIN_LENGTH 64
#define MAX_ATTEMPTS 16

/* What XFS takes to clone; the file's writers wait meanwhile. */
#define US_PER_EXTENT 20
/* More than this, about five seconds, only if forced. */
#define MAX_EXTENTS 262144
/* Nobody needs to hear of less. */
#define WARN_MS 1000

/* ---- the shelf ---- */

gboolean
reflink_shelf_open (const SnapReserved *at, const char *file, int *fd,
                    GError **error)
{
  snap_autofd int reserved = -1;

  *fd = -1;
  if (!snap_reserved_open (at, &reserved, error))
    return FALSE;
  if (reserved < 0)
    return TRUE;
  *fd =
      openat (reserved, file, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (*fd < 0 && errno != ENOENT)
    return snap_error_set_errno (error, errno, "%s/%s/%s", at->where, at->name,
                                 file);
  return TRUE;
}

/* Somebody may remove what is empty, shelf or directory, before there is
   something in it: -1 without an error. */
static int
try_to_make (const ReflinkVolume *volume, GError **error)
{
  const char *file = volume->parent.label;
  snap_autofd int reserved = snap_reserved_make (&volume->reserved, error);
  int fd = -1;

  if (reserved < 0)
    return -1;
  if (mkdirat (reserved, file, 0700) == 0 || errno == EEXIST)
    reflink_shelf_open (&volume->reserved, file, &fd, error);
  else if (errno != ENOENT)
    snap_error_set_errno (error, errno, "%s/%s/%s", volume->directory,
                          volume->reserved_name, file);
  return fd;
}

int
reflink_shelf_make (const ReflinkVolume *volume, GError **error)
{
  for (int i = 0; i < MAX_ATTEMPTS; i++) {
    g_autoptr (GError) reason = NULL;
    int fd = try_to_make (volume, &reason);

    if (fd >= 0)
      return fd;
    if (reason != NULL) {
      g_propagate_error (error, g_steal_pointer (&reason));
      return -1;
    }
  }
  snap_error_set (error, SNAP_ERROR_BUSY,
                  "%s/%s: was removed meanwhile, again and again",
                  volume->directory, volume->reserved_name);
  return -1;
}

gboolean
reflink_shelf_discard (const SnapReserved *at, const char *file, GError **error)
{
  snap_autofd int reserved = -1;

  if (!snap_reserved_open (at, &reserved, error))
    return FALSE;
  if (reserved >= 0 && unlinkat (reserved, file, AT_REMOVEDIR) < 0
      && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
    return snap_error_set_errno (error, errno, "%s/%s/%s", at->where, at->name,
                                 file);
  return snap_reserved_discard (at, error);
}

/* ---- what is known of a file ---- */

char *
reflink_origin (int fd)
{
  struct stat st;

  if (fstat (fd, &st) < 0)
    return g_strdup ("unknown");
  return g_strdup_printf ("%" G_GUINT64_FORMAT ".%u", (guint64) st.st_ino,
                          snap_inode_generation (fd));
}

gboolean
reflink_clone_set_origin (int fd, const char *origin, GError **error)
{
  if (fsetxattr (fd, ORIGIN_ATTRIBUTE, origin, strlen (origin), 0) == 0)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s", ORIGIN_ATTRIBUTE);
}

char *
reflink_clone_get_origin (int fd)
{
  char value[MAX_ORIGIN_LENGTH];
  gssize length = fgetxattr (fd, ORIGIN_ATTRIBUTE, value, sizeof value);

  return length > 0 ? g_strndup (value, length) : NULL;
}

/* ---- points ---- */

/* The time of the last change is in it: a clone that was written to is
   another point. */
static char *
format_identity (int fd, const struct stat *st)
{
  g_autofree char *inode = reflink_origin (fd);

  return g_strdup_printf ("%s.%" G_GINT64_FORMAT ".%09ld", inode,
                          (gint64) st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

/* -1, with errno, also if it is no plain file. */
static int
open_clone (int shelf_fd, const char *native, struct stat *st)
{
  snap_autofd int fd =
      openat (shelf_fd, native, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd < 0 || fstat (fd, st) < 0)
    return -1;
  if (!S_ISREG (st->st_mode)) {
    errno = ENOENT;
    return -1;
  }
  return snap_fd_steal (&fd);
}

SnapPoint *
reflink_point_new (int shelf_fd, const char *native)
{
  g_autofree char *name = NULL;
  g_autofree char *set_id = NULL;
  gboolean ours = snap_native_name_parse (native, &name, &set_id);
  struct stat st;
  snap_autofd int fd = open_clone (shelf_fd, native, &st);
  SnapPoint *point;

  if (fd < 0)
    return NULL;
  point = snap_point_new (SNAP_POINT_SNAPSHOT, ours ? name : native);
  point->ours = ours;
  point->set_id = g_steal_pointer (&set_id);
  point->id = format_identity (fd, &st);
  point->handle = g_strdup (native);
  point->size = st.st_size;
  point->time_us =
      (gint64) st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000;
  return point;
}

int
reflink_point_open (const ReflinkVolume *volume, const SnapPoint *point,
                    GError **error)
{
  snap_autofd int shelf = -1;
  snap_autofd int fd = -1;
  g_autofree char *identity = NULL;
  struct stat st;

  if (!reflink_shelf_open (&volume->reserved, volume->parent.label, &shelf,
                           error))
    return -1;
  if (shelf >= 0)
    fd = open_clone (shelf, point->handle, &st);
  if (shelf >= 0 && fd < 0 && errno != ENOENT) {
    snap_error_set_errno (error, errno, "%s@%s", volume->parent.location,
                          point->name);
    return -1;
  }
  identity = fd >= 0 ? format_identity (fd, &st) : NULL;
  if (g_strcmp0 (identity, point->id) == 0)
    return snap_fd_steal (&fd);
  snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                  "%s@%s: snapshot %s is gone or was changed",
                  volume->parent.location, point->name, point->id);
  return -1;
}

/* ---- what a clone costs ---- */

static void
warn_of_stall (const ReflinkVolume *volume, guint64 n_extents, guint ms)
{
  g_autofree char *message = NULL;

  if (volume->warn == NULL)
    return;
  message = g_strdup_printf (
      "%s: has %" G_GUINT64_FORMAT " extents: its writers will wait for about "
      "%u s, or longer if they are busy",
      volume->parent.location, n_extents, (ms + 500) / 1000);
  volume->warn (message, volume->warn_data);
}

gboolean
reflink_check_stall (const ReflinkVolume *volume, guint *expected_ms,
                     GError **error)
{
  const char *location = volume->parent.location;
  guint64 n_extents;

  if (!snap_fiemap_count (volume->fd, location, &n_extents, error))
    return FALSE;
  *expected_ms = 10 + MIN (n_extents * US_PER_EXTENT / 1000, G_MAXINT);
  if (n_extents > MAX_EXTENTS && !volume->force)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: has %" G_GUINT64_FORMAT
                           " extents, so that its writers would wait "
                           "for about %u s or longer: not done unless forced",
                           location, n_extents, (*expected_ms + 500) / 1000);
  if (*expected_ms > WARN_MS)
    warn_of_stall (volume, n_extents, *expected_ms);
  return TRUE;
}

int
reflink_clone_live (const ReflinkVolume *volume, GError **error)
{
  snap_autofd int fd = -1;
  guint expected_ms;

  if (!reflink_check_stall (volume, &expected_ms, error))
    return -1;
  fd = snap_reflink_open_unnamed (volume->directory_fd, error);
  if (fd >= 0 && snap_reflink_clone (fd, volume->fd, error))
    return snap_fd_steal (&fd);
  g_prefix_error (error, "%s: ", volume->parent.location);
  return -1;
}
