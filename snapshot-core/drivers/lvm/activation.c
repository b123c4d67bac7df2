/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeping a snapshot's device there for as long as somebody reads it.
 *
 * Several processes may read one snapshot.  Each holds a shared lock on a
 * file of that snapshot, which says whether the activation is ours; the last
 * one to let go, who gets the lock for itself, undoes it.  After a crash the
 * file still says so, and the next reader's end undoes it.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"

/* Others hold the lock for themselves while lvm activates. */
#define LOCK_WAIT_MS 60000
#define LOCK_LOOK_MS 20

struct _LvmActivation {
  char *path; /* "VG/LV" */
  char *lock_path;
  int lock_fd;
};

gboolean
lvm_runtime_directory (GError **error)
{
  if (mkdir (LVM_RUNTIME_DIR, 0700) == 0 || errno == EEXIST)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s", LVM_RUNTIME_DIR);
}

/* ---- the file ---- */

static gboolean
is_ours (const LvmActivation *self)
{
  char mark;

  return pread (self->lock_fd, &mark, 1, 0) == 1;
}

static gboolean
say_ours (const LvmActivation *self, GError **error)
{
  if (pwrite (self->lock_fd, "1", 1, 0) == 1)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s", self->lock_path);
}

static gboolean
change_device (const LvmActivation *self, gboolean active, GError **error)
{
  const char *const on[] = { "lvchange", "-q",       "-ay", "-K",
                             "--",       self->path, NULL };
  const char *const off[] = { "lvchange", "-q", "-an", "--", self->path, NULL };

  return lvm_run (active ? on : off, NULL, error);
}

/* ---- the lock ---- */

/* Alone, or with others who have it active already. */
static gboolean
take_lock (LvmActivation *self, gboolean *alone, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (LOCK_WAIT_MS);

  for (;;) {
    GError *reason = NULL;

    self->lock_fd =
        snap_lock_file_take (self->lock_path, SNAP_LOCK_EXCLUSIVE, NULL);
    *alone = self->lock_fd >= 0;
    if (!*alone)
      self->lock_fd =
          snap_lock_file_take (self->lock_path, SNAP_LOCK_SHARED, &reason);
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

/* The mark comes first: a crash after it costs a deactivation of what was
   not activated, a crash before it a device that stays. */
static gboolean
activate (LvmActivation *self, gboolean active, GError **error)
{
  if (!active
      && (!say_ours (self, error) || !change_device (self, TRUE, error)))
    return FALSE;
  return snap_lock_fd (self->lock_fd, SNAP_LOCK_SHARED, error);
}

LvmActivation *
lvm_activate (const SnapLvmVolume *volume, GError **error)
{
  g_autoptr (LvmActivation) self = g_new0 (LvmActivation, 1);
  gboolean alone;

  self->lock_fd = -1;
  self->path = g_strdup_printf ("%s/%s", volume->vg, volume->name);
  self->lock_path =
      g_strdup_printf (LVM_RUNTIME_DIR "/active-%s", volume->uuid);
  if (!lvm_runtime_directory (error) || !take_lock (self, &alone, error)
      || (alone && !activate (self, volume->active, error)))
    return NULL;
  return g_steal_pointer (&self);
}

/* Who cannot have the lock alone leaves the rest to the others. */
static void
let_go (LvmActivation *self)
{
  if (!snap_lock_fd (self->lock_fd, SNAP_LOCK_EXCLUSIVE, NULL))
    return;
  if (!is_ours (self) || change_device (self, FALSE, NULL))
    unlink (self->lock_path);
}

void
lvm_activation_free (LvmActivation *self)
{
  if (self == NULL)
    return;
  if (self->lock_fd >= 0)
    let_go (self);
  snap_fd_clear (&self->lock_fd);
  g_free (self->lock_path);
  g_free (self->path);
  g_free (self);
}
