/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creation and deletion, as far as both kinds of snapshot share them.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <string.h>
#include <unistd.h>

#include "snapshot-core/drivers/record.h"
#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"

/* The longest name that device mapper takes, without the NUL. */
#define MAX_DM_NAME 127

/* ---- plan ---- */

/* "VG-LV" with every '-' inside doubled; LVM appends some words of its own. */
static gsize
dm_name_length (const char *vg, const char *native)
{
  gsize length = strlen (vg) + 1 + strlen (native);

  for (const char *c = vg; *c != '\0'; c++)
    length += *c == '-';
  for (const char *c = native; *c != '\0'; c++)
    length += *c == '-';
  return length + strlen ("-cow");
}

static gboolean
check_name (const LvmVolume *volume, const char *name, const char *native,
            GError **error)
{
  if (dm_name_length (volume->vg, native) <= MAX_DM_NAME)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         "%s: is too long a name for a snapshot in volume "
                         "group %s",
                         name, volume->vg);
}

static gboolean
check_state (const LvmVolume *volume, const SnapLvmVolume *found,
             GError **error)
{
  const char *fact = NULL;

  if (found->merging)
    fact = "a snapshot is being merged into it";
  else if (found->health != NULL)
    fact = found->health;
  if (fact == NULL)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: %s",
                         volume->parent.location, fact);
}

/* lvm would resume it, whoever suspended it, and leave a thin pool that it
   refuses to use. */
static gboolean
check_running (const LvmVolume *volume, const SnapLvmVolume *found,
               GError **error)
{
  SnapDmInfo info;

  if (!snap_dm_info (lvm_dm_name (found), &info, error))
    return FALSE;
  return !info.suspended
         || snap_error_set (error, SNAP_ERROR_BUSY,
                            "%s: is suspended by somebody else",
                            volume->parent.location);
}

static gboolean
check (const LvmVolume *volume, GPtrArray *report, GError **error)
{
  const SnapLvmVolume *found = lvm_report_volume (report, volume, error);

  if (found == NULL || !check_state (volume, found, error)
      || !check_running (volume, found, error))
    return FALSE;
  return volume->kind == LVM_THIN ? lvm_thin_check (volume, report, error)
                                  : lvm_classic_check (volume, report, error);
}

static char *
format_record (const LvmVolume *volume, const LvmCut *cut)
{
  return snap_record_format ((const char *[]){
      volume->vg, cut->native, cut->set_id, cut->dm_name, NULL });
}

SnapCut *
lvm_plan (SnapVolume *volume, const char *name, const char *set_id,
          char **record, GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = lvm_report_seen (self, error);
  g_autofree char *native = lvm_native_name (name, set_id, volume->id);
  LvmCut *cut;

  if (report == NULL || !check (self, report, error)
      || !check_name (self, name, native, error))
    return NULL;
  cut = g_new0 (LvmCut, 1);
  cut->parent.volume = volume;
  cut->parent.expected_ms = self->kind == LVM_THIN ? 50 : 1000;
  cut->name = g_strdup (name);
  cut->set_id = g_strdup (set_id);
  cut->native = g_steal_pointer (&native);
  cut->dm_name =
      g_strdup (lvm_dm_name (snap_lvm_report_by_uuid (report, volume->id)));
  *record = format_record (self, cut);
  return &cut->parent;
}

void
lvm_free_cut (SnapCut *cut)
{
  LvmCut *self = (LvmCut *) cut;

  g_free (self->name);
  g_free (self->set_id);
  g_free (self->native);
  g_free (self->dm_name);
  g_free (self);
}

/* ---- prepare, cut, commit ---- */

static LvmKind
kind_of (const SnapCut *cut)
{
  return ((LvmVolume *) cut->volume)->kind;
}

/* IO is how a killed tool ends. */
static gboolean
make (LvmCut *cut, gboolean (*make_it) (const LvmCut *, int lock_fd, GError **),
      GError **error)
{
  GError *reason = NULL;
  g_autofree char *path = NULL;
  snap_autofd int lock_fd = lvm_set_lock (cut->set_id, &path, &reason);
  gboolean made = lock_fd >= 0 && make_it (cut, lock_fd, &reason);

  if (lock_fd >= 0)
    unlink (path);
  if (made)
    return TRUE;
  cut->half_made = g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_IO);
  g_propagate_error (error, reason);
  return FALSE;
}

gboolean
lvm_prepare (SnapCut *cut, GError **error)
{
  return kind_of (cut) != LVM_THIN
         || make ((LvmCut *) cut, lvm_thin_prepare, error);
}

/* Thin ones have their instant in the window. */
gboolean
lvm_cut (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (kind_of (cuts[i]) == LVM_CLASSIC
        && !make ((LvmCut *) cuts[i], lvm_classic_cut, error))
      return FALSE;
  return TRUE;
}

static const char *
group_of (const SnapCut *cut)
{
  return ((LvmVolume *) cut->volume)->vg;
}

/* One report for cuts of one group, which mostly follow each other. */
gboolean
lvm_window (SnapCut **cuts, gsize n_cuts, SnapWindow *window, GError **error)
{
  g_autoptr (GPtrArray) report = NULL;
  const char *group = "";

  for (gsize i = 0; i < n_cuts; i++) {
    if (kind_of (cuts[i]) != LVM_THIN)
      continue;
    if (!g_str_equal (group, group_of (cuts[i]))) {
      g_clear_pointer (&report, g_ptr_array_unref);
      group = group_of (cuts[i]);
      report = lvm_report (group, error);
    }
    if (report == NULL
        || !lvm_thin_window ((LvmCut *) cuts[i], report, window, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
lvm_cuts_at_once (SnapCut **cuts, gsize n_cuts)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (kind_of (cuts[i]) != LVM_THIN)
      return FALSE;
  return TRUE;
}

gboolean
lvm_commit (SnapCut *cut, GError **error)
{
  const LvmCut *self = (LvmCut *) cut;

  return kind_of (cut) != LVM_CLASSIC || lvm_classic_commit (self, error);
}

/* ---- deletion ---- */

gboolean
lvm_remove (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = NULL;
  const SnapLvmVolume *found;

  if (!point->ours)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s@%s: not made by nbdsnap, so not deleted",
                           volume->location, point->name);
  report = lvm_report (self->vg, error);
  if (report == NULL)
    return FALSE;
  found = lvm_report_point (report, self, point, error);
  return found != NULL && lvm_remove_volume (self->vg, found->name, -1, error);
}
