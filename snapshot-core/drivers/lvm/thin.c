/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Thin snapshots, all of a set at one instant.
 *
 * LVM cuts one volume at a time.  So each snapshot is made by LVM beforehand,
 * visible, tagged and inactive, as a placeholder; in the window its device
 * in the pool is deleted and created again under the same id, while all
 * origins are suspended.  LVM's metadata does not change by that, nor does the
 * pool's transaction id.  A crash in between leaves a volume that cannot be
 * activated and that lvremove removes.
 *
 * Never lvcreate while an origin is suspended: it resumes the origin by itself
 * and leaves the pool with a transaction id that LVM does not expect.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <stdio.h>

#include "snapshot-core/os/device-mapper.h"

/* A snapshot makes every later write to shared chunks allocate: below this
   much room it is refused. */
#define MAX_DATA_PERCENT 95.0
#define MAX_METADATA_PERCENT 90.0

gboolean
lvm_thin_check (const LvmVolume *volume, GPtrArray *report, GError **error)
{
  const SnapLvmVolume *found = lvm_report_volume (report, volume, error);
  const SnapLvmVolume *pool =
      found != NULL ? lvm_pool_of (report, found, error) : NULL;

  if (pool == NULL)
    return FALSE;
  if (pool->health != NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s/%s: %s", pool->vg,
                           pool->name, pool->health);
  if (volume->force
      || (pool->data_percent <= MAX_DATA_PERCENT
          && pool->metadata_percent <= MAX_METADATA_PERCENT))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_NO_SPACE,
                         "%s/%s: too full for a snapshot: data %.1f %%, "
                         "metadata %.1f %% used",
                         pool->vg, pool->name, pool->data_percent,
                         pool->metadata_percent);
}

gboolean
lvm_thin_prepare (const LvmCut *cut, int lock_fd, GError **error)
{
  const LvmVolume *volume = (LvmVolume *) cut->parent.volume;
  g_autoptr (GPtrArray) arguments = g_ptr_array_new ();
  g_autoptr (GPtrArray) owned = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *origin = g_strdup_printf ("%s/%s", volume->vg, volume->name);
  static const char *const fixed[] = { "lvcreate", "-q",  "-s",
                                       "-pr",      "-ky", "-n" };

  for (gsize i = 0; i < G_N_ELEMENTS (fixed); i++)
    g_ptr_array_add (arguments, (char *) fixed[i]);
  g_ptr_array_add (arguments, cut->native);
  lvm_native_tags (arguments, owned, cut->name, cut->set_id, volume->parent.id);
  g_ptr_array_add (arguments, (char *) "--");
  g_ptr_array_add (arguments, origin);
  g_ptr_array_add (arguments, NULL);
  return lvm_run_locked ((const char *const *) arguments->pdata, lock_fd,
                         error);
}

static gboolean
check_placeholder (const LvmCut *cut, const SnapLvmVolume *made,
                   const SnapLvmVolume *origin, GError **error)
{
  if (made != NULL && lvm_is_of_set (made, cut->set_id) && made->thin_id != 0
      && !made->active && g_strcmp0 (made->pool_uuid, origin->pool_uuid) == 0)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_FAILED,
                         "%s/%s: was changed by somebody else while the set "
                         "was being made",
                         origin->vg, cut->native);
}

static void
add_messages (SnapWindow *window, const char *pool, guint32 thin_id,
              guint32 origin_id)
{
  g_autofree char *delete = g_strdup_printf ("delete %u", thin_id);
  g_autofree char *create =
      g_strdup_printf ("create_snap %u %u", thin_id, origin_id);

  snap_window_send (window, pool, delete);
  snap_window_send (window, pool, create);
}

gboolean
lvm_thin_window (const LvmCut *cut, GPtrArray *report, SnapWindow *window,
                 GError **error)
{
  const LvmVolume *volume = (LvmVolume *) cut->parent.volume;
  const SnapLvmVolume *origin = lvm_report_volume (report, volume, error);
  const SnapLvmVolume *made;
  const SnapLvmVolume *pool;
  g_autofree char *pool_name = NULL;
  gboolean active;

  if (origin == NULL)
    return FALSE;
  made = snap_lvm_report_by_name (report, volume->vg, cut->native);
  pool = lvm_pool_of (report, origin, error);
  if (pool == NULL || !check_placeholder (cut, made, origin, error))
    return FALSE;
  if (!lvm_is_active (pool, &active, error))
    return FALSE;
  if (!active)
    return TRUE;
  pool_name = lvm_pool_dm_name (pool);
  if (origin->active)
    snap_window_suspend (window, lvm_dm_name (origin));
  add_messages (window, pool_name, made->thin_id, origin->thin_id);
  return TRUE;
}

/* ---- after a kill ---- */

/* A pool that is at another transaction than LVM expects waits for messages,
   which LVM keeps in its metadata until it has sent them. */
static gboolean
is_behind (const SnapLvmVolume *pool, gboolean *behind, GError **error)
{
  g_autofree char *name = lvm_pool_dm_name (pool);
  g_autofree char *status = NULL;
  guint64 transaction;
  gboolean active;

  *behind = FALSE;
  if (!lvm_is_active (pool, &active, error))
    return FALSE;
  if (!active)
    return TRUE;
  status = snap_dm_status (name, error);
  if (status == NULL)
    return FALSE;
  *behind = sscanf (status, "thin-pool %" G_GUINT64_FORMAT, &transaction) == 1
            && transaction != pool->transaction_id;
  return TRUE;
}

/* A refresh of the pool itself would not send them; whoever activates the
   next volume will. */
gboolean
lvm_thin_settle (GPtrArray *report, const SnapLvmVolume *volume, GError **error)
{
  const SnapLvmVolume *pool = lvm_pool_of (report, volume, error);
  g_autofree char *path = NULL;
  const char *arguments[] = { "lvchange", "-q", "--refresh", "--", NULL, NULL };
  gboolean behind;

  if (pool == NULL || !is_behind (pool, &behind, error))
    return FALSE;
  if (!behind || !volume->active)
    return TRUE;
  path = g_strdup_printf ("%s/%s", volume->vg, volume->name);
  arguments[4] = path;
  return lvm_run (arguments, NULL, error);
}
