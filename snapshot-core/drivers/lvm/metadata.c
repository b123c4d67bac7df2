/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pool's metadata as of one commit, while the pool goes on working.
 *
 * There is one metadata snapshot per pool, and the pool does not say whose it
 * is.  So we note in a file which one is ours, under a lock: another process
 * of ours waits for the lock, and finds in the file what a killed one has left
 * behind.  One that is in no file of ours is somebody else's and stays.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"

/* In the note, before the kernel has said which block it is. */
#define RESERVING "reserving"

struct _LvmMetadata {
  char *pool; /* device-mapper name that takes messages */
  char *lock_path;
  int lock_fd;
  gboolean reserved;
  guint64 root; /* block number of its superblock */
  char *device; /* of the metadata */
};

/* ---- the note: "POOL ROOT" ---- */

static gboolean
write_note (const LvmMetadata *self, const char *root, GError **error)
{
  g_autofree char *note = g_strdup_printf ("%s %s", self->pool, root);

  return lvm_runtime_set_note (self->lock_fd, self->lock_path, note, error);
}

/* The root, which may be RESERVING; NULL if nothing is noted of this pool. */
static char *
read_note (const LvmMetadata *self)
{
  g_autofree char *note = lvm_runtime_note (self->lock_fd);
  const char *space = strrchr (note, ' ');

  if (space == NULL || strncmp (note, self->pool, space - note) != 0
      || self->pool[space - note] != '\0')
    return NULL;
  return g_strdup (space + 1);
}

/* ---- the pool ---- */

/* The held root of the pool, 0 if there is none.  Of the status
   "thin-pool TRANSACTION USED/TOTAL USED/TOTAL ROOT|- …". */
static gboolean
read_held_root (const char *pool, guint64 *root, GError **error)
{
  g_autofree char *status = snap_dm_status (pool, error);
  g_auto (GStrv) words = NULL;

  if (status == NULL)
    return FALSE;
  words = g_strsplit (status, " ", 6);
  if (g_strv_length (words) < 5 || !g_str_equal (words[0], "thin-pool"))
    return snap_error_set (error, SNAP_ERROR_IO, "%s: %s", pool, status);
  *root = 0;
  return g_str_equal (words[4], "-")
         || g_ascii_string_to_unsigned (words[4], 10, 1, G_MAXINT64, root,
                                        error);
}

static gboolean
release (const LvmMetadata *self, GError **error)
{
  return snap_dm_message (self->pool, "release_metadata_snap", error)
         && lvm_runtime_set_note (self->lock_fd, self->lock_path, "", error);
}

static gboolean
refuse (const LvmMetadata *self, const char *holder, GError **error)
{
  return snap_error_set (
      error, SNAP_ERROR_BUSY,
      "%s: its metadata snapshot is held by %s; `dmsetup message %s 0 "
      "release_metadata_snap` lets go of it",
      self->pool, holder, self->pool);
}

/* What a killed process of ours has left is released; anything else that is
   held is not touched. */
static gboolean
make_room (const LvmMetadata *self, gboolean *released, GError **error)
{
  g_autofree char *note = read_note (self);
  g_autofree char *held = NULL;
  guint64 root;

  *released = FALSE;
  if (!read_held_root (self->pool, &root, error))
    return FALSE;
  if (root == 0)
    return TRUE;
  held = g_strdup_printf ("%" G_GUINT64_FORMAT, root);
  *released = g_strcmp0 (note, held) == 0;
  if (*released)
    return release (self, error);
  return refuse (self,
                 g_strcmp0 (note, RESERVING) == 0
                     ? "a killed nbdsnap or somebody else"
                     : "somebody else",
                 error);
}

static gboolean
reserve (LvmMetadata *self, GError **error)
{
  g_autofree char *root = NULL;
  gboolean released;

  if (!make_room (self, &released, error)
      || !write_note (self, RESERVING, error)
      || !snap_dm_message (self->pool, "reserve_metadata_snap", error))
    return FALSE;
  self->reserved = TRUE;
  if (!read_held_root (self->pool, &self->root, error))
    return FALSE;
  if (self->root == 0)
    return snap_error_set (error, SNAP_ERROR_IO,
                           "%s: has no metadata snapshot although it was "
                           "reserved",
                           self->pool);
  root = g_strdup_printf ("%" G_GUINT64_FORMAT, self->root);
  return write_note (self, root, error);
}

/* ---- taking and letting go ---- */

static gboolean
find_device (LvmMetadata *self, GPtrArray *report, const SnapLvmVolume *pool,
             GError **error)
{
  const SnapLvmVolume *metadata =
      pool->metadata_lv != NULL
          ? snap_lvm_report_by_name (report, pool->vg, pool->metadata_lv)
          : NULL;

  if (metadata == NULL || metadata->dm_path == NULL)
    return snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                           "%s/%s: its metadata volume is not there", pool->vg,
                           pool->name);
  self->device = g_strdup (metadata->dm_path);
  return TRUE;
}

/* Diffs of one pool take turns. */
LvmMetadata *
lvm_metadata_take (GPtrArray *report, const SnapLvmVolume *pool, GError **error)
{
  g_autoptr (LvmMetadata) self = g_new0 (LvmMetadata, 1);
  gboolean alone;

  self->lock_fd = -1;
  self->pool = lvm_pool_dm_name (pool);
  self->lock_path = lvm_runtime_path (LVM_RESERVED, pool->uuid);
  if (!find_device (self, report, pool, error))
    return NULL;
  self->lock_fd = lvm_runtime_lock (self->lock_path, FALSE, &alone, error);
  if (self->lock_fd < 0 || !reserve (self, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
lvm_metadata_free (LvmMetadata *self)
{
  if (self == NULL)
    return;
  if (self->reserved && release (self, NULL))
    unlink (self->lock_path);
  snap_fd_clear (&self->lock_fd);
  g_free (self->device);
  g_free (self->lock_path);
  g_free (self->pool);
  g_free (self);
}

/* A pool that is not active holds nothing. */
gboolean
lvm_metadata_undo (const char *lock_path, int lock_fd, guint *n_undone,
                   GError **error)
{
  g_autofree char *pool = lvm_runtime_note (lock_fd);
  char *space = strrchr (pool, ' ');
  const LvmMetadata left = { .pool = pool,
                             .lock_path = (char *) lock_path,
                             .lock_fd = lock_fd };
  gboolean released;
  SnapDmInfo info;

  if (space == NULL)
    return TRUE;
  *space = '\0';
  if (!snap_dm_info (pool, &info, error))
    return FALSE;
  if (!info.exists)
    return TRUE;
  if (!make_room (&left, &released, error))
    return FALSE;
  *n_undone += released;
  return TRUE;
}

guint64
lvm_metadata_root (const LvmMetadata *self)
{
  return self->root;
}

const char *
lvm_metadata_device (const LvmMetadata *self)
{
  return self->device;
}
