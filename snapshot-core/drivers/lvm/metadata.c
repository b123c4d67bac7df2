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

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"

/* Diffs of one pool take turns. */
#define LOCK_WAIT_MS 60000
#define LOCK_LOOK_MS 20

/* In the file before the kernel has said which block it is. */
#define RESERVING "reserving"

#define MAX_NOTE 32

struct _LvmMetadata {
  char *pool; /* device-mapper name that takes messages */
  int lock_fd;
  gboolean reserved;
  guint64 root; /* block number of its superblock */
  char *device; /* of the metadata */
};

/* ---- the note ---- */

static gboolean
write_note (const LvmMetadata *self, const char *note, GError **error)
{
  gssize length = strlen (note);

  if (ftruncate (self->lock_fd, 0) == 0
      && pwrite (self->lock_fd, note, length, 0) == length)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s: note in " LVM_RUNTIME_DIR,
                               self->pool);
}

static void
read_note (const LvmMetadata *self, char note[MAX_NOTE])
{
  gssize n = pread (self->lock_fd, note, MAX_NOTE - 1, 0);

  note[MAX (n, 0)] = '\0';
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
         && write_note (self, "", error);
}

/* What a killed process of ours has left is released; anything else that is
   held is not touched. */
static gboolean
make_room (const LvmMetadata *self, GError **error)
{
  char note[MAX_NOTE];
  g_autofree char *held = NULL;
  guint64 root;

  if (!read_held_root (self->pool, &root, error))
    return FALSE;
  if (root == 0)
    return TRUE;
  read_note (self, note);
  held = g_strdup_printf ("%" G_GUINT64_FORMAT, root);
  if (g_str_equal (note, held))
    return release (self, error);
  return snap_error_set (
      error, SNAP_ERROR_BUSY,
      "%s: its metadata snapshot is held by %s; `dmsetup message %s 0 "
      "release_metadata_snap` lets go of it",
      self->pool,
      g_str_equal (note, RESERVING) ? "a killed nbdsnap or somebody else"
                                    : "somebody else",
      self->pool);
}

static gboolean
reserve (LvmMetadata *self, GError **error)
{
  g_autofree char *note = NULL;

  if (!make_room (self, error) || !write_note (self, RESERVING, error)
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
  note = g_strdup_printf ("%" G_GUINT64_FORMAT, self->root);
  return write_note (self, note, error);
}

/* ---- taking and letting go ---- */

static gboolean
take_lock (LvmMetadata *self, const SnapLvmVolume *pool, GError **error)
{
  g_autofree char *path =
      g_strdup_printf (LVM_RUNTIME_DIR "/metadata-%s", pool->uuid);
  SnapDeadline deadline = snap_deadline_in (LOCK_WAIT_MS);

  if (!lvm_runtime_directory (error))
    return FALSE;
  for (;;) {
    GError *reason = NULL;

    self->lock_fd = snap_lock_file_take (path, SNAP_LOCK_EXCLUSIVE, &reason);
    if (self->lock_fd >= 0)
      return TRUE;
    if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)
        || snap_deadline_left_ms (deadline) == 0) {
      g_propagate_error (error, reason);
      return FALSE;
    }
    g_error_free (reason);
    g_usleep (LOCK_LOOK_MS * 1000);
  }
}

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

LvmMetadata *
lvm_metadata_take (GPtrArray *report, const SnapLvmVolume *pool, GError **error)
{
  g_autoptr (LvmMetadata) self = g_new0 (LvmMetadata, 1);

  self->lock_fd = -1;
  self->pool = lvm_pool_dm_name (pool);
  if (!find_device (self, report, pool, error) || !take_lock (self, pool, error)
      || !reserve (self, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
lvm_metadata_free (LvmMetadata *self)
{
  if (self == NULL)
    return;
  if (self->reserved)
    release (self, NULL);
  snap_fd_clear (&self->lock_fd);
  g_free (self->device);
  g_free (self->pool);
  g_free (self);
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
