/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All volumes of a set that lie in one subvolume share one snapshot, which is
 * their instant.  Everything is named by the set's id, so that whatever a
 * crash leaves is known for what it is.
 */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/drivers/native-name.h"
#include "snapshot-core/drivers/record.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-identity.h"

/* A snapshot writes out what is dirty first. */
#define EXPECTED_MS 300

typedef struct {
  SnapCut parent;
  char *native;
  gboolean is_done; /* its subvolume's snapshot was made */
} BtrfsCut;

static const BtrfsVolume *
cut_volume (const SnapCut *cut)
{
  return (const BtrfsVolume *) cut->volume;
}

static gboolean
is_same_subvolume (const SnapCut *a, const SnapCut *b)
{
  return memcmp (cut_volume (a)->subvolume.uuid, cut_volume (b)->subvolume.uuid,
                 SNAP_BTRFS_UUID_LENGTH)
         == 0;
}

/* ---- plan ---- */

static gboolean
check_storage (const BtrfsVolume *volume, GError **error)
{
  struct statvfs fs;
  snap_autofd int reserved = -1;

  if (volume->fd < 0)
    return snap_error_set_errno (error, ENOENT, "%s", volume->parent.location);
  if (volume->subvolume.read_only)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: its subvolume %s is read-only, so that there "
                           "is nothing to snapshot",
                           volume->parent.location, volume->top);
  if (fstatvfs (volume->top_fd, &fs) < 0)
    return snap_error_set_errno (error, errno, "%s", volume->top);
  if ((fs.f_flag & ST_RDONLY) != 0)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: its file system is mounted read-only",
                           volume->parent.location);
  return btrfs_reserved_open (volume, &reserved, error);
}

SnapCut *
btrfs_plan (SnapVolume *volume, const char *name, const char *set_id,
            char **record, GError **error)
{
  const BtrfsVolume *self = (BtrfsVolume *) volume;
  g_autofree char *identity = NULL;
  BtrfsCut *cut;

  if (!check_storage (self, error))
    return NULL;
  identity = snap_file_identity (self->top_fd, error);
  if (identity == NULL) {
    g_prefix_error (error, "%s: ", volume->location);
    return NULL;
  }
  cut = g_new0 (BtrfsCut, 1);
  cut->parent.volume = volume;
  cut->parent.expected_ms = EXPECTED_MS;
  cut->native = snap_native_name_format (name, set_id);
  *record = snap_record_format (
      (const char *[]){ self->top, cut->native, set_id, self->member,
                        self->reserved_name, identity, NULL });
  return &cut->parent;
}

gboolean
btrfs_cuts_at_once (SnapCut **cuts, gsize n_cuts)
{
  for (gsize i = 1; i < n_cuts; i++)
    if (!is_same_subvolume (cuts[0], cuts[i]))
      return FALSE;
  return TRUE;
}

/* ---- cut ---- */

gboolean
btrfs_prepare (SnapCut *cut, GError **error)
{
  const BtrfsVolume *volume = cut_volume (cut);
  snap_autofd int reserved = snap_reserved_make (&volume->reserved, error);

  return reserved >= 0;
}

/* Member files come first: what the snapshot puts on the disk they are part
   of. */
static gboolean
add_member (int reserved_fd, const BtrfsCut *cut, GError **error)
{
  const BtrfsVolume *volume = cut_volume (&cut->parent);
  g_autofree char *name = btrfs_member_name (cut->native, volume->member);
  snap_autofd int fd =
      openat (reserved_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);

  return fd >= 0
         || snap_error_set_errno (error, errno, "%s: %s", volume->top, name);
}

/* Snapshot the subvolume of cuts[0], for all cuts that lie in it. */
static gboolean
cut_subvolume (SnapCut **cuts, gsize n_cuts, int reserved_fd, GError **error)
{
  const BtrfsVolume *volume = cut_volume (cuts[0]);

  if (!btrfs_tidy (volume, reserved_fd, error))
    return FALSE;
  for (gsize i = 0; i < n_cuts; i++)
    if (is_same_subvolume (cuts[0], cuts[i])) {
      ((BtrfsCut *) cuts[i])->is_done = TRUE;
      if (!add_member (reserved_fd, (BtrfsCut *) cuts[i], error))
        return FALSE;
    }
  if (snap_btrfs_snapshot (volume->top_fd, reserved_fd,
                           ((BtrfsCut *) cuts[0])->native, error))
    return TRUE;
  g_prefix_error (error, "%s: ", volume->top);
  return FALSE;
}

/* The same, with the reserved directory locked. */
static gboolean
cut_locked (SnapCut **cuts, gsize n_cuts, GError **error)
{
  const BtrfsVolume *volume = cut_volume (cuts[0]);
  snap_autofd int reserved = -1;
  snap_autofd int lock = btrfs_reserved_enter (volume, &reserved, error);

  return lock >= 0 && cut_subvolume (cuts, n_cuts, reserved, error);
}

gboolean
btrfs_cut (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (!((BtrfsCut *) cuts[i])->is_done
        && !cut_locked (cuts + i, n_cuts - i, error))
      return FALSE;
  return TRUE;
}

/* A snapshot is on disk when it is made. */
gboolean
btrfs_commit (SnapCut *cut, GError **error)
{
  return TRUE;
}

void
btrfs_free_cut (SnapCut *cut)
{
  BtrfsCut *self = (BtrfsCut *) cut;

  g_free (self->native);
  g_free (self);
}

/* ---- removing ---- */

/* Delete a subvolume of a name of ours, which may be gone. */
static gboolean
delete_if_there (const SnapReserved *at, int reserved_fd, const char *native,
                 GError **error)
{
  g_autoptr (GError) reason = NULL;

  if (faccessat (reserved_fd, native, F_OK, AT_SYMLINK_NOFOLLOW) < 0
      && errno == ENOENT)
    return TRUE;
  if (snap_btrfs_delete (reserved_fd, native, &reason)
      || g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_prefixed_error (error, g_steal_pointer (&reason),
                              "%s/%s/%s: ", at->where, at->name, native);
  return FALSE;
}

static gboolean
remove_member (const SnapReserved *at, int reserved_fd, const char *native,
               const char *member, GError **error)
{
  g_autofree char *name = btrfs_member_name (native, member);

  if (unlinkat (reserved_fd, name, 0) == 0 || errno == ENOENT)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s/%s/%s", at->where, at->name,
                               name);
}

/* Whether the snapshot was made for another volume, too, that keeps it. */
static gboolean
find_other_member (int reserved_fd, const char *top, const char *native,
                   const char *member, gboolean *found, GError **error)
{
  g_autoptr (GPtrArray) names = snap_directory_list (reserved_fd, top, error);
  g_autofree char *own = btrfs_member_name (native, member);

  *found = FALSE;
  for (guint i = 0; names != NULL && i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    g_autofree char *of = btrfs_member_parse (name);

    *found |= g_strcmp0 (of, native) == 0 && !g_str_equal (name, own);
  }
  return names != NULL;
}

/* Undo one volume's part in a creation.  The set is aborted as a whole, so
   its snapshot goes with the first. */
static gboolean
discard (const SnapReserved *at, const char *native, const char *member,
         GError **error)
{
  snap_autofd int reserved = -1;
  snap_autofd int lock = -1;

  if (!snap_reserved_open (at, &reserved, error))
    return FALSE;
  if (reserved >= 0) {
    lock = snap_reserved_lock (at, reserved, BTRFS_LOCK_TIMEOUT_MS, error);
    if (lock < 0 || !delete_if_there (at, reserved, native, error)
        || !remove_member (at, reserved, native, member, error))
      return FALSE;
  }
  return snap_reserved_discard (at, error);
}

gboolean
btrfs_abort (SnapCut *cut, GError **error)
{
  const BtrfsCut *self = (BtrfsCut *) cut;
  const BtrfsVolume *volume = cut_volume (cut);

  return discard (&volume->reserved, self->native, volume->member, error);
}

/* In older ones the last word, the top's identity, is missing. */
static char **
parse_record (const char *record, GError **error)
{
  char **words = snap_record_parse (record, 6, NULL);

  return words != NULL ? words : snap_record_parse (record, 5, error);
}

gboolean
btrfs_recover (const char *record, SnapRecover action, GError **error)
{
  g_auto (GStrv) words = parse_record (record, error);
  g_autofree char *name = NULL;
  g_autofree char *set_id = NULL;
  snap_autofd int top_fd = -1;

  if (words == NULL)
    return FALSE;
  if (!snap_native_name_parse (words[1], &name, &set_id)
      || !g_str_equal (set_id, words[2])
      || snap_reserved_name_fault (words[4]) != NULL)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "journal: %s is not a snapshot of set %s", words[1],
                           words[2]);
  if (action == SNAP_RECOVER_COMMIT)
    return TRUE;
  top_fd = snap_directory_open_same (words[0], words[5], error);
  return top_fd >= 0
         && discard (&(SnapReserved){ top_fd, words[0], words[4] }, words[1],
                     words[3], error);
}

/* Under the lock: the snapshot first, then what says that it is ours. */
static gboolean
remove_locked (const BtrfsVolume *volume, int reserved_fd,
               const SnapPoint *point, GError **error)
{
  const char *native = point->handle;
  gboolean is_shared;

  if (!find_other_member (reserved_fd, volume->top, native, volume->member,
                          &is_shared, error))
    return FALSE;
  if (!is_shared
      && !delete_if_there (&volume->reserved, reserved_fd, native, error))
    return FALSE;
  return remove_member (&volume->reserved, reserved_fd, native, volume->member,
                        error)
         && btrfs_tidy (volume, reserved_fd, error)
         && snap_btrfs_sync (reserved_fd, error);
}

gboolean
btrfs_remove (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  const BtrfsVolume *self = (BtrfsVolume *) volume;
  g_auto (BtrfsSide) side = { .fd = -1 };
  snap_autofd int reserved = -1;
  snap_autofd int lock = -1;

  if (!point->ours)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s@%s: not made by nbdsnap for this volume, so not "
                           "deleted",
                           volume->location, point->name);
  if (!btrfs_point_open (self, point, &side, error)
      || !btrfs_reserved_open (self, &reserved, error))
    return FALSE;
  lock = snap_reserved_lock (&self->reserved, reserved, BTRFS_LOCK_TIMEOUT_MS,
                             error);
  return lock >= 0 && remove_locked (self, reserved, point, error)
         && snap_reserved_discard (&self->reserved, error);
}

gboolean
btrfs_sweep (SnapVolume *volume, GError **error)
{
  const BtrfsVolume *self = (BtrfsVolume *) volume;
  snap_autofd int reserved = -1;
  snap_autofd int lock = -1;

  if (!btrfs_reserved_open (self, &reserved, error))
    return FALSE;
  if (reserved >= 0) {
    lock = snap_reserved_lock (&self->reserved, reserved, BTRFS_LOCK_TIMEOUT_MS,
                               error);
    if (lock < 0 || !btrfs_tidy (self, reserved, error))
      return FALSE;
  }
  return snap_reserved_discard (&self->reserved, error);
}
