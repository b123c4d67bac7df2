/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/file-identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/reflink.h"

#define UUID_LENGTH 16

/* What XFS tells of itself, in the oldest layout, which every kernel knows;
   the headers are no part of the kernel's.  The number of the request holds
   the size. */
typedef struct {
  guint32 words[8];
  guint64 counts[4];
  guint8 uuid[UUID_LENGTH];
  guint32 more_words[7];
} XfsGeometry;
#define XFS_GEOMETRY_REQUEST _IOR ('X', 100, XfsGeometry)
G_STATIC_ASSERT (G_STRUCT_OFFSET (XfsGeometry, uuid) == 64);

/* The id that statfs gives for XFS is the device's number. */
static char *
read_xfs_uuid (int fd)
{
  XfsGeometry geometry;
  GString *text;

  memset (&geometry, 0, sizeof geometry);
  if (ioctl (fd, XFS_GEOMETRY_REQUEST, &geometry) < 0)
    return NULL;
  text = g_string_new ("xfs-");
  for (gsize i = 0; i < UUID_LENGTH; i++)
    g_string_append_printf (text, "%02x", geometry.uuid[i]);
  return g_string_free (text, FALSE);
}

/* Others make that id of their UUID; btrfs also of which subvolume it is. */
static char *
format_filesystem (int fd, const struct statfs *fs, const struct stat *st)
{
  char *uuid = fs->f_type == XFS_SUPER_MAGIC ? read_xfs_uuid (fd) : NULL;
  guint32 id[2];

  if (uuid != NULL)
    return uuid;
  G_STATIC_ASSERT (sizeof id == sizeof fs->f_fsid);
  memcpy (id, &fs->f_fsid, sizeof id);
  if (id[0] != 0 || id[1] != 0)
    return g_strdup_printf ("%x-%08x%08x", (guint32) fs->f_type, id[0], id[1]);
  return g_strdup_printf ("%x-device-%" G_GINT64_MODIFIER "x",
                          (guint32) fs->f_type, (guint64) st->st_dev);
}

char *
snap_file_identity (int fd, GError **error)
{
  g_autofree char *filesystem = NULL;
  struct statfs fs;
  struct stat st;

  if (fstatfs (fd, &fs) < 0 || fstat (fd, &st) < 0) {
    snap_error_set_errno (error, errno, "file system");
    return NULL;
  }
  filesystem = format_filesystem (fd, &fs, &st);
  return g_strdup_printf ("%s/%" G_GUINT64_FORMAT ".%u", filesystem,
                          (guint64) st.st_ino, snap_inode_generation (fd));
}

static gboolean
check_same (int fd, const char *path, const char *identity, GError **error)
{
  g_autofree char *found = snap_file_identity (fd, error);

  if (found == NULL) {
    g_prefix_error (error, "%s: ", path);
    return FALSE;
  }
  return g_str_equal (found, identity)
         || snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                            "%s: is another directory now, as when its file "
                            "system is not mounted",
                            path);
}

int
snap_directory_open_same (const char *path, const char *identity,
                          GError **error)
{
  snap_autofd int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0) {
    snap_error_set_errno (error, errno, "%s", path);
    return -1;
  }
  if (identity != NULL && !check_same (fd, path, identity, error))
    return -1;
  return snap_fd_steal (&fd);
}
