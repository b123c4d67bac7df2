/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeping a snapshot's device there for as long as somebody reads it.
 *
 * Several processes may read one snapshot.  Each holds a shared lock on a
 * file of that snapshot, which notes the group if the activation is ours; the
 * last one to let go, who gets the lock for itself, undoes it.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"

struct _LvmActivation {
  char *path; /* "VG/LV" */
  char *lock_path;
  int lock_fd;
};

static gboolean
change_device (const char *path, gboolean active, int lock_fd, GError **error)
{
  const char *const on[] = { "lvchange", "-q", "-ay", "-K", "--", path, NULL };
  const char *const off[] = { "lvchange", "-q", "-an", "--", path, NULL };

  return lvm_run_locked (active ? on : off, lock_fd, error);
}

static char *
format_path (const SnapLvmVolume *volume)
{
  return g_strdup_printf ("%s/%s", volume->vg, volume->name);
}

/* ---- while somebody reads ---- */

/* What the report says is from before the lock: the last reader may have
   gone since.  The note comes first: a crash after it costs a deactivation of
   what was not activated, a crash before it a device that stays. */
static gboolean
activate_alone (LvmActivation *self, const SnapLvmVolume *volume,
                GError **error)
{
  gboolean active;

  if (!lvm_is_active (volume, &active, error))
    return FALSE;
  if (!active
      && (!lvm_runtime_set_note (self->lock_fd, self->lock_path, volume->vg,
                                 error)
          || !change_device (self->path, TRUE, self->lock_fd, error)))
    return FALSE;
  return snap_lock_fd (self->lock_fd, SNAP_LOCK_SHARED, error);
}

LvmActivation *
lvm_activate (const SnapLvmVolume *volume, GError **error)
{
  g_autoptr (LvmActivation) self = g_new0 (LvmActivation, 1);
  gboolean alone;

  self->path = format_path (volume);
  self->lock_path = lvm_runtime_path (LVM_ACTIVE, volume->uuid);
  self->lock_fd = lvm_runtime_lock (self->lock_path, TRUE, &alone, error);
  if (self->lock_fd < 0 || (alone && !activate_alone (self, volume, error)))
    return NULL;
  return g_steal_pointer (&self);
}

/* The own lock goes first: of two who let go at one time, each would find the
   other's.  Whoever then cannot have the lock alone leaves it to others. */
static void
let_go (LvmActivation *self)
{
  g_autofree char *note = NULL;

  snap_fd_clear (&self->lock_fd);
  self->lock_fd = lvm_runtime_try_lock (self->lock_path, NULL);
  if (self->lock_fd < 0)
    return;
  note = lvm_runtime_note (self->lock_fd);
  if (note[0] == '\0' || change_device (self->path, FALSE, self->lock_fd, NULL))
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

/* By UUID: the volume may have another name by now, or be gone. */
gboolean
lvm_activation_undo (const char *lock_path, int lock_fd, guint *n_undone,
                     GError **error)
{
  const char *uuid = strrchr (lock_path, '/') + 1 + strlen (LVM_ACTIVE);
  g_autofree char *group = lvm_runtime_note (lock_fd);
  g_autoptr (GError) reason = NULL;
  g_autoptr (GPtrArray) report = NULL;
  const SnapLvmVolume *volume = NULL;
  g_autofree char *path = NULL;

  if (group[0] == '\0')
    return TRUE;
  report = lvm_report (group, &reason);
  if (report != NULL)
    volume = snap_lvm_report_by_uuid (report, uuid);
  else if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND)) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  if (volume == NULL)
    return TRUE;
  path = format_path (volume);
  if (!change_device (path, FALSE, lock_fd, error))
    return FALSE;
  ++*n_undone;
  return TRUE;
}

/* ---- by the user's wish ---- */

static char *
plain_path (const SnapLvmVolume *volume)
{
  gboolean active;

  return !volume->writeable && lvm_is_active (volume, &active, NULL) && active
             ? g_strdup (volume->dm_path)
             : NULL;
}

char *
lvm_plain_path (SnapVolume *volume, const SnapPoint *point)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = NULL;
  const SnapLvmVolume *found = NULL;

  if (point->kind != SNAP_POINT_SNAPSHOT)
    return NULL;
  report = lvm_report (self->vg, NULL);
  if (report != NULL)
    found = lvm_report_point (report, self, point, NULL);
  return found != NULL ? plain_path (found) : NULL;
}

/* With the note taken back, no reader's end undoes it. */
char *
lvm_activate_point (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = lvm_report (self->vg, error);
  g_autoptr (LvmActivation) activation = NULL;
  const SnapLvmVolume *found = NULL;

  if (report != NULL)
    found = lvm_report_point (report, self, point, error);
  if (found == NULL)
    return NULL;
  activation = lvm_activate (found, error);
  if (activation == NULL
      || !lvm_runtime_set_note (activation->lock_fd, activation->lock_path, "",
                                error))
    return NULL;
  return g_strdup (found->dm_path);
}

gboolean
lvm_deactivate_point (SnapVolume *volume, const SnapPoint *point,
                      GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = lvm_report (self->vg, error);
  const SnapLvmVolume *found = NULL;
  g_autofree char *path = NULL;
  g_autofree char *lock_path = NULL;
  snap_autofd int lock_fd = -1;

  if (report != NULL)
    found = lvm_report_point (report, self, point, error);
  if (found == NULL)
    return FALSE;
  path = format_path (found);
  lock_path = lvm_runtime_path (LVM_ACTIVE, found->uuid);
  lock_fd = lvm_runtime_try_lock (lock_path, error);
  if (lock_fd < 0) {
    g_prefix_error (error, "%s@%s: is being read: ", volume->location,
                    point->name);
    return FALSE;
  }
  if (!change_device (path, FALSE, lock_fd, error))
    return FALSE;
  unlink (lock_path);
  return TRUE;
}
