/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/drivers/native-name.h"
#include "snapshot-core/os/beneath.h"
#include "snapshot-core/os/fd.h"

#define MEMBER_LENGTH 32
#define MAX_ATTEMPTS 16

gboolean
btrfs_reserved_open (const BtrfsVolume *volume, int *fd, GError **error)
{
  return snap_reserved_open (&volume->reserved, fd, error);
}

/* Somebody may delete the last snapshot, and the directory with it, just
   before we get the lock: FALSE without an error. */
static gboolean
try_to_enter (const BtrfsVolume *volume, int *reserved_fd, int *lock_fd,
              GError **error)
{
  g_autoptr (GError) reason = NULL;
  snap_autofd int reserved = snap_reserved_make (&volume->reserved, &reason);
  snap_autofd int lock = -1;

  if (reserved >= 0)
    lock = snap_reserved_lock (&volume->reserved, reserved,
                               BTRFS_LOCK_TIMEOUT_MS, &reason);
  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND))
    return FALSE;
  if (reason != NULL) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return TRUE;
  }
  *reserved_fd = snap_fd_steal (&reserved);
  *lock_fd = snap_fd_steal (&lock);
  return TRUE;
}

int
btrfs_reserved_enter (const BtrfsVolume *volume, int *reserved_fd,
                      GError **error)
{
  int lock = -1;

  *reserved_fd = -1;
  for (int i = 0; i < MAX_ATTEMPTS; i++)
    if (try_to_enter (volume, reserved_fd, &lock, error))
      return lock;
  snap_error_set (error, SNAP_ERROR_BUSY,
                  "%s/%s: was removed meanwhile, again and again", volume->top,
                  volume->reserved_name);
  return -1;
}

/* ---- member files ---- */

/* A digest: a path may be longer than a name may be. */
char *
btrfs_member_new (const char *path)
{
  g_autofree char *digest =
      g_compute_checksum_for_string (G_CHECKSUM_SHA256, path, -1);

  return g_strndup (digest, MEMBER_LENGTH);
}

char *
btrfs_member_name (const char *native, const char *member)
{
  return g_strconcat (native, ".", member, NULL);
}

char *
btrfs_member_parse (const char *name)
{
  const char *dot = strrchr (name, '.');
  g_autofree char *native = dot != NULL ? g_strndup (name, dot - name) : NULL;
  g_autofree char *part = NULL;
  g_autofree char *set_id = NULL;

  if (native == NULL || strlen (dot + 1) != MEMBER_LENGTH
      || strspn (dot + 1, "0123456789abcdef") != MEMBER_LENGTH
      || !snap_native_name_parse (native, &part, &set_id))
    return NULL;
  return g_steal_pointer (&native);
}

static gboolean
is_member (int reserved_fd, const char *native, const char *member)
{
  g_autofree char *name = btrfs_member_name (native, member);
  struct stat st;

  return fstatat (reserved_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0
         && S_ISREG (st.st_mode);
}

/* ---- snapshots ---- */

/* What a snapshot holds in the place of a subvolume is an empty directory
   with another inode number. */
static gboolean
is_top (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 && st.st_ino == SNAP_BTRFS_TOP_INODE;
}

int
btrfs_copy_open (const BtrfsVolume *volume, int reserved_fd, const char *native,
                 SnapBtrfsSubvolume *subvolume)
{
  snap_autofd int fd = openat (reserved_fd, native,
                               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

  if (fd >= 0 && is_top (fd) && snap_btrfs_subvolume_read (fd, subvolume, NULL)
      && memcmp (subvolume->parent_uuid, volume->subvolume.uuid,
                 SNAP_BTRFS_UUID_LENGTH)
             == 0)
    return snap_fd_steal (&fd);
  errno = ENOENT;
  return -1;
}

int
btrfs_snapshot_open (const BtrfsVolume *volume, int reserved_fd,
                     const char *native, SnapBtrfsSubvolume *subvolume)
{
  snap_autofd int fd = btrfs_copy_open (volume, reserved_fd, native, subvolume);

  if (fd >= 0 && subvolume->read_only)
    return snap_fd_steal (&fd);
  errno = ENOENT;
  return -1;
}

/* ---- points ---- */

/* One that was written to after its cut is another point; the transaction
   says so and cannot be set back. */
static char *
format_identity (const SnapBtrfsSubvolume *subvolume)
{
  g_autofree char *uuid = snap_btrfs_uuid_format (subvolume->uuid);

  if (!snap_btrfs_subvolume_was_changed (subvolume))
    return g_steal_pointer (&uuid);
  return g_strdup_printf ("%s+%" G_GUINT64_FORMAT, uuid, subvolume->changed);
}

/* A point, and what tells its place in time: ids of subvolumes only grow. */
typedef struct {
  guint64 subvolume_id;
  SnapPoint *point;
} Entry;

static gint
compare_entries (gconstpointer a, gconstpointer b)
{
  const Entry *x = a;
  const Entry *y = b;

  return (x->subvolume_id > y->subvolume_id)
         - (x->subvolume_id < y->subvolume_id);
}

/* NULL if @native is no snapshot, or the file is not in it. */
static SnapPoint *
point_new (const BtrfsVolume *volume, int reserved_fd, const char *native,
           guint64 *subvolume_id)
{
  SnapBtrfsSubvolume subvolume;
  snap_autofd int top =
      btrfs_snapshot_open (volume, reserved_fd, native, &subvolume);
  snap_autofd int fd = top >= 0 ? snap_open_beneath (top, volume->path) : -1;
  g_autofree char *name = NULL;
  g_autofree char *set_id = NULL;
  gboolean ours;
  SnapPoint *point;
  struct stat st;

  if (fd < 0 || fstat (fd, &st) < 0)
    return NULL;
  ours = snap_native_name_parse (native, &name, &set_id)
         && is_member (reserved_fd, native, volume->member);
  point = snap_point_new (SNAP_POINT_SNAPSHOT, ours ? name : native);
  point->ours = ours;
  point->set_id = g_steal_pointer (&set_id);
  point->id = format_identity (&subvolume);
  point->handle = g_strdup (native);
  point->size = st.st_size;
  point->time_us = subvolume.time_us;
  *subvolume_id = subvolume.id;
  return point;
}

/* The natives that were made for other files of the subvolume, and not for
   this one: those are the others' business, and have their names. */
static GHashTable *
find_others (const BtrfsVolume *volume, int reserved_fd, GPtrArray *names)
{
  GHashTable *others =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = 0; i < names->len; i++) {
    char *native = btrfs_member_parse (names->pdata[i]);

    if (native != NULL && !is_member (reserved_fd, native, volume->member))
      g_hash_table_add (others, native);
    else
      g_free (native);
  }
  return others;
}

/* The points of the reserved directory, sorted; elements are Entry. */
static GArray *
read_entries (const BtrfsVolume *volume, int reserved_fd, GError **error)
{
  g_autoptr (GPtrArray) names =
      snap_directory_list (reserved_fd, volume->top, error);
  g_autoptr (GHashTable) others = NULL;
  GArray *entries;

  if (names == NULL)
    return NULL;
  others = find_others (volume, reserved_fd, names);
  entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  for (guint i = 0; i < names->len; i++) {
    const char *native = g_ptr_array_index (names, i);
    Entry entry = { 0 };

    if (native[0] != '.' && !g_hash_table_contains (others, native))
      entry.point =
          point_new (volume, reserved_fd, native, &entry.subvolume_id);
    if (entry.point != NULL)
      g_array_append_val (entries, entry);
  }
  g_array_sort (entries, compare_entries);
  return entries;
}

GPtrArray *
btrfs_points (const BtrfsVolume *volume, GError **error)
{
  g_autoptr (GPtrArray) points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);
  g_autoptr (GArray) entries = NULL;
  snap_autofd int reserved = -1;

  if (!btrfs_reserved_open (volume, &reserved, error))
    return NULL;
  if (reserved < 0)
    return g_steal_pointer (&points);
  entries = read_entries (volume, reserved, error);
  if (entries == NULL)
    return NULL;
  for (guint i = 0; i < entries->len; i++)
    g_ptr_array_add (points, g_array_index (entries, Entry, i).point);
  return g_steal_pointer (&points);
}

void
btrfs_side_clear (BtrfsSide *self)
{
  snap_fd_clear (&self->fd);
}

static gboolean
refuse_gone (const BtrfsVolume *volume, const SnapPoint *point, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                         "%s@%s: snapshot %s is gone or was changed",
                         volume->parent.location, point->name, point->id);
}

/* What somebody has written to a snapshot shows in its identity when it is on
   the disk. */
static gboolean
check_identity (const BtrfsVolume *volume, const SnapPoint *point,
                BtrfsSide *side, GError **error)
{
  g_autofree char *identity = NULL;

  if (fdatasync (side->fd) < 0)
    return snap_error_set_errno (error, errno, "%s@%s", volume->parent.location,
                                 point->name);
  if (!snap_btrfs_subvolume_read (side->fd, &side->subvolume, error)) {
    g_prefix_error (error, "%s@%s: ", volume->parent.location, point->name);
    return FALSE;
  }
  identity = format_identity (&side->subvolume);
  return g_str_equal (identity, point->id)
         || refuse_gone (volume, point, error);
}

gboolean
btrfs_point_open (const BtrfsVolume *volume, const SnapPoint *point,
                  BtrfsSide *side, GError **error)
{
  snap_autofd int reserved = -1;
  snap_autofd int top = -1;

  side->fd = -1;
  if (!btrfs_reserved_open (volume, &reserved, error))
    return FALSE;
  if (reserved >= 0)
    top =
        btrfs_snapshot_open (volume, reserved, point->handle, &side->subvolume);
  if (top < 0)
    return refuse_gone (volume, point, error);
  side->fd = snap_open_beneath (top, volume->path);
  if (side->fd < 0)
    return snap_error_set_errno (error, errno, "%s@%s", volume->parent.location,
                                 point->name);
  return check_identity (volume, point, side, error);
}
