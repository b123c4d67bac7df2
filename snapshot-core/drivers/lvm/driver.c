/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "snapshot-core/drivers/builtin.h"

/* ---- probing ---- */

/* The kernel keeps the UUID that LVM gave a device-mapper device. */
static gboolean
is_lvm_device (dev_t device)
{
  g_autofree char *path = g_strdup_printf ("/sys/dev/block/%u:%u/dm/uuid",
                                           major (device), minor (device));
  g_autofree char *uuid = NULL;

  return g_file_get_contents (path, &uuid, NULL, NULL)
         && g_str_has_prefix (uuid, "LVM-");
}

static gboolean
is_lvm_name (const char *name, gsize length)
{
  return length > 0 && name[0] != '-'
         && strspn (name, "abcdefghijklmnopqrstuvwxyz"
                          "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-")
                >= length;
}

/* "VG/LV", which may be inactive, so that no file says what it is. */
static gboolean
is_group_and_name (const char *location)
{
  const char *slash = strchr (location, '/');

  return slash != NULL && is_lvm_name (location, slash - location)
         && is_lvm_name (slash + 1, strlen (slash + 1));
}

static int
lvm_probe (const char *location)
{
  struct stat st;

  if (stat (location, &st) == 0)
    return S_ISBLK (st.st_mode) && is_lvm_device (st.st_rdev) ? 90 : 0;
  /* A path that may not be looked at is no name. */
  return errno != EACCES && is_group_and_name (location) ? 20 : 0;
}

/* ---- the volume ---- */

static void
lvm_close (SnapVolume *volume)
{
  LvmVolume *self = (LvmVolume *) volume;

  g_clear_pointer (&self->seen, g_ptr_array_unref);
  g_free (self->vg);
  g_free (self->name);
  g_free (self->dm_path);
  g_free (volume->location);
  g_free (volume->part);
  g_free (volume->id);
  g_free (volume->label);
  g_free (self);
}

static void
close_half_open (LvmVolume *self)
{
  lvm_close (&self->parent);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LvmVolume, close_half_open)

static gboolean
fill (LvmVolume *self, const SnapLvmVolume *found, GError **error)
{
  self->vg = g_strdup (found->vg);
  self->name = g_strdup (found->name);
  self->dm_path = g_strdup (found->dm_path);
  self->kind = found->thin_id != 0 ? LVM_THIN : LVM_CLASSIC;
  self->parent.id = g_strdup (found->uuid);
  self->parent.label = g_strdup (found->name);
  if (g_strcmp0 (found->segtype, "thin-pool") == 0)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: is a thin pool, not a volume",
                           self->parent.location);
  return TRUE;
}

static gboolean
check_location (const char *location, const char *part, GError **error)
{
  if (part != NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "%s#%s: a logical volume has no parts", location,
                           part);
  if (location[0] != '/' && !is_group_and_name (location))
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "%s: neither VG/LV nor the path of a device",
                           location);
  return TRUE;
}

static SnapVolume *
lvm_open (const char *location, const char *part,
          const SnapOpenOptions *options, GError **error)
{
  g_autoptr (LvmVolume) self = g_new0 (LvmVolume, 1);
  g_autoptr (GPtrArray) report = NULL;

  self->parent.driver = &snap_driver_lvm;
  self->parent.location = g_strdup (location);
  self->force = options->force;
  if (!check_location (location, part, error))
    return NULL;
  report = lvm_report (location, error);
  if (report == NULL)
    return NULL;
  if (report->len != 1) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no such logical volume",
                    location);
    return NULL;
  }
  if (!fill (self, report->pdata[0], error))
    return NULL;
  return &g_steal_pointer (&self)->parent;
}

/* ---- looking once ---- */

static void
lvm_look_away (SnapVolume **volumes, gsize n_volumes)
{
  for (gsize i = 0; i < n_volumes; i++) {
    LvmVolume *self = (LvmVolume *) volumes[i];

    if (self->seen != NULL)
      g_clear_pointer (&self->seen, g_ptr_array_unref);
  }
}

/* What was seen for a volume of the same group among the first @n. */
static GPtrArray *
seen_before (SnapVolume **volumes, gsize n, const char *vg)
{
  for (gsize i = 0; i < n; i++) {
    const LvmVolume *earlier = (LvmVolume *) volumes[i];

    if (g_str_equal (earlier->vg, vg))
      return g_ptr_array_ref (earlier->seen);
  }
  return NULL;
}

/* One volume may be there twice. */
static gboolean
lvm_look (SnapVolume **volumes, gsize n_volumes, GError **error)
{
  lvm_look_away (volumes, n_volumes);
  for (gsize i = 0; i < n_volumes; i++) {
    LvmVolume *self = (LvmVolume *) volumes[i];
    GPtrArray *report = seen_before (volumes, i, self->vg);

    if (report == NULL)
      report = lvm_report (self->vg, error);
    if (report == NULL) {
      lvm_look_away (volumes, n_volumes);
      return FALSE;
    }
    g_clear_pointer (&self->seen, g_ptr_array_unref);
    self->seen = report;
  }
  return TRUE;
}

/* ---- points ---- */

static gint
compare_time (gconstpointer a, gconstpointer b)
{
  const SnapPoint *x = *(SnapPoint *const *) a;
  const SnapPoint *y = *(SnapPoint *const *) b;

  if (x->time_us != y->time_us)
    return x->time_us < y->time_us ? -1 : 1;
  return strcmp (x->handle, y->handle);
}

/* A thin volume of another pool has its origin outside, as a base that it
   writes over: that is no snapshot. */
static gboolean
is_clone (const SnapLvmVolume *candidate, const SnapLvmVolume *origin)
{
  return candidate->thin_id != 0
         && g_strcmp0 (candidate->pool_uuid, origin->pool_uuid) != 0;
}

static GPtrArray *
lvm_list (SnapVolume *volume, GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = lvm_report_seen (self, error);
  g_autoptr (GPtrArray) points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);
  const SnapLvmVolume *found = NULL;

  if (report != NULL)
    found = lvm_report_volume (report, self, error);
  if (found == NULL)
    return NULL;
  for (guint i = 0; i < report->len; i++)
    if (lvm_is_snapshot_of (report->pdata[i], volume->id)
        && !is_clone (report->pdata[i], found))
      g_ptr_array_add (points, lvm_point_new (report->pdata[i]));
  g_ptr_array_sort (points, compare_time);
  return g_steal_pointer (&points);
}

static SnapPoint *
lvm_special (SnapVolume *volume, SnapPointKind kind, GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = NULL;
  const SnapLvmVolume *found;
  SnapPoint *point;

  if (kind != SNAP_POINT_LIVE) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no backing file",
                    volume->location);
    return NULL;
  }
  report = lvm_report_seen (self, error);
  found = report != NULL ? lvm_report_volume (report, self, error) : NULL;
  if (found == NULL)
    return NULL;
  point = snap_point_new (SNAP_POINT_LIVE, "live");
  point->id = lvm_identity (found);
  point->handle = g_strdup (found->name);
  point->size = found->size;
  point->no_image = TRUE;
  return point;
}

static char *
lvm_device (SnapVolume *volume)
{
  return g_strdup (((LvmVolume *) volume)->dm_path);
}

const SnapDriver snap_driver_lvm = {
  SNAP_DRIVER_INIT,
  .name = "lvm",
  .description = "logical volumes: thin snapshots and classic ones",
  .probe = lvm_probe,
  .open = lvm_open,
  .close = lvm_close,
  .list = lvm_list,
  .special = lvm_special,
  .remove = lvm_remove,
  .plan = lvm_plan,
  .prepare = lvm_prepare,
  .cut = lvm_cut,
  .window = lvm_window,
  .commit = lvm_commit,
  .abort = lvm_abort,
  .free_cut = lvm_free_cut,
  .cuts_at_once = lvm_cuts_at_once,
  .recover = lvm_recover,
  .comparable = lvm_comparable,
  .diff = lvm_diff,
  .open_image = lvm_open_image,
  .plain_path = lvm_plain_path,
  .activate = lvm_activate_point,
  .deactivate = lvm_deactivate_point,
  .sweep = lvm_sweep,
  .tidy = lvm_tidy,
  .device = lvm_device,
  .look = lvm_look,
  .look_away = lvm_look_away,
};
