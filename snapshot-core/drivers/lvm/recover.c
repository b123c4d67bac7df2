/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Undoing what was made for a set, also after whoever made it was killed: we,
 * the guard, or lvm in the middle of its work.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <unistd.h>

#include "snapshot-core/drivers/record.h"
#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"

/* Made anew for each command, since nothing else needs it. */
int
lvm_set_lock (const char *set_id, char **path, GError **error)
{
  gboolean alone;

  *path = lvm_runtime_path (LVM_SET, set_id);
  return lvm_runtime_lock (*path, FALSE, &alone, error);
}

/* ---- what stands still ---- */

static const SnapLvmVolume *
find_by_dm_name (GPtrArray *report, const char *dm_name)
{
  for (guint i = 0; i < report->len; i++)
    if (g_str_equal (lvm_dm_name (report->pdata[i]), dm_name))
      return report->pdata[i];
  return NULL;
}

/* Of a classic snapshot that was being made, several devices stand still, with
   new tables or without: lvm knows what they were to become. */
static gboolean
refresh (const char *vg, const char *dm_name, GError **error)
{
  g_autoptr (GPtrArray) report = lvm_report (vg, error);
  const SnapLvmVolume *origin =
      report != NULL ? find_by_dm_name (report, dm_name) : NULL;
  g_autofree char *path = NULL;
  const char *arguments[] = { "lvchange", "-q", "--refresh", "--", NULL, NULL };

  if (origin == NULL)
    return report != NULL;
  path = g_strdup_printf ("%s/%s", vg, origin->name);
  arguments[4] = path;
  return lvm_run (arguments, NULL, error);
}

static gboolean
is_layered (const char *dm_name, gboolean *layered, GError **error)
{
  g_autofree char *real = g_strconcat (dm_name, "-real", NULL);
  SnapDmInfo info;

  if (!snap_dm_info (real, &info, error))
    return FALSE;
  *layered = info.exists;
  return TRUE;
}

/* Whoever died may have left the origin suspended. */
static gboolean
wake (const char *vg, const char *dm_name, GError **error)
{
  gboolean layered;
  SnapDmInfo info;

  if (!snap_dm_info (dm_name, &info, error)
      || !is_layered (dm_name, &layered, error))
    return FALSE;
  if (!info.suspended)
    return TRUE;
  return layered ? refresh (vg, dm_name, error)
                 : snap_dm_resume (dm_name, error);
}

/* ---- what was made ---- */

gboolean
lvm_remove_volume (const char *vg, const char *name, int lock_fd,
                   GError **error)
{
  g_autofree char *path = g_strdup_printf ("%s/%s", vg, name);
  const char *arguments[] = { "lvremove", "-f", "-q", "--", path, NULL };

  return lvm_run_locked (arguments, lock_fd, error);
}

/*
 * lvm writes down what it is going to tell the pool, tells it, and counts on.
 * If it is killed in between, every later lvm tells the pool again to make the
 * device, which the pool refuses, since it is there.  Without it they go on.
 */
static void
take_from_pool (GPtrArray *report, const SnapLvmVolume *made)
{
  const SnapLvmVolume *pool =
      made->thin_id != 0 ? lvm_pool_of (report, made, NULL) : NULL;
  g_autofree char *pool_name = NULL;
  g_autofree char *message = NULL;

  if (pool == NULL)
    return;
  pool_name = lvm_pool_dm_name (pool);
  message = g_strdup_printf ("delete %u", made->thin_id);
  snap_dm_message (pool_name, message, NULL);
}

static gboolean
remove_made (GPtrArray *report, const SnapLvmVolume *made, int lock_fd,
             GError **error)
{
  GError *reason = NULL;

  if (lvm_remove_volume (made->vg, made->name, lock_fd, &reason))
    return TRUE;
  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)) {
    g_propagate_error (error, reason);
    return FALSE;
  }
  g_error_free (reason);
  take_from_pool (report, made);
  return lvm_remove_volume (made->vg, made->name, lock_fd, error);
}

/* Its removal may have been killed as well. */
static gboolean
settle (GPtrArray *report, const char *dm_name, GError **error)
{
  const SnapLvmVolume *origin = find_by_dm_name (report, dm_name);

  return origin == NULL || origin->thin_id == 0
         || lvm_thin_settle (report, origin, error);
}

/* Only what carries the tag of the set is ours to remove. */
static gboolean
remove_if_made (const char *vg, const char *native, const char *set_id,
                const char *dm_name, int lock_fd, GError **error)
{
  g_autoptr (GPtrArray) report = lvm_report (vg, error);
  const SnapLvmVolume *made;

  if (report == NULL)
    return FALSE;
  made = snap_lvm_report_by_name (report, vg, native);
  if (made == NULL)
    return settle (report, dm_name, error);
  if (lvm_is_of_set (made, set_id))
    return remove_made (report, made, lock_fd, error);
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "%s/%s: does not carry the tag of set %s, so not "
                         "deleted",
                         vg, native, set_id);
}

/* ---- of a set in hand ---- */

static gboolean
abort_locked (const LvmCut *cut, int lock_fd, GError **error)
{
  const LvmVolume *volume = (LvmVolume *) cut->parent.volume;

  return (!cut->half_made || wake (volume->vg, cut->dm_name, error))
         && remove_if_made (volume->vg, cut->native, cut->set_id, cut->dm_name,
                            lock_fd, error);
}

gboolean
lvm_abort (SnapCut *cut, GError **error)
{
  const LvmCut *self = (LvmCut *) cut;
  g_autofree char *path = NULL;
  snap_autofd int lock_fd = lvm_set_lock (self->set_id, &path, error);
  gboolean undone = lock_fd >= 0 && abort_locked (self, lock_fd, error);

  if (lock_fd >= 0)
    unlink (path);
  return undone;
}

/* ---- of one whose maker is gone ---- */

static gboolean
recover_locked (char **words, SnapRecover action, int lock_fd, GError **error)
{
  return wake (words[0], words[3], error)
         && (action == SNAP_RECOVER_COMMIT
             || remove_if_made (words[0], words[1], words[2], words[3], lock_fd,
                                error));
}

/* The one who was killed may have left a tool that is still making what is
   to be removed: the lock waits for that. */
gboolean
lvm_recover (const char *record, SnapRecover action, GError **error)
{
  g_auto (GStrv) words = snap_record_parse (record, 4, error);
  g_autofree char *path = NULL;
  snap_autofd int lock_fd = -1;
  gboolean recovered;

  if (words == NULL)
    return FALSE;
  lock_fd = lvm_set_lock (words[2], &path, error);
  recovered = lock_fd >= 0 && recover_locked (words, action, lock_fd, error);
  if (lock_fd >= 0)
    unlink (path);
  return recovered;
}

/* ---- of a deletion ---- */

gboolean
lvm_sweep (SnapVolume *volume, GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = NULL;
  const SnapLvmVolume *found;

  if (self->kind != LVM_THIN)
    return TRUE;
  report = lvm_report (self->vg, error);
  found = report != NULL ? lvm_report_volume (report, self, error) : NULL;
  return found != NULL && lvm_thin_settle (report, found, error);
}
