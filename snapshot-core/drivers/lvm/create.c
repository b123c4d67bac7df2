/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creation and deletion, as far as both kinds of snapshot share them.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <string.h>

#include "snapshot-core/drivers/record.h"
#include "snapshot-core/os/device-mapper.h"

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

static gboolean
check (const LvmVolume *volume, GPtrArray *report, GError **error)
{
  const SnapLvmVolume *found = lvm_report_volume (report, volume, error);

  if (found == NULL || !check_state (volume, found, error))
    return FALSE;
  return volume->kind == LVM_THIN ? lvm_thin_check (volume, report, error)
                                  : lvm_classic_check (volume, report, error);
}

static char *
format_record (const LvmVolume *volume, const SnapLvmVolume *found,
               const LvmCut *cut)
{
  return snap_record_format ((const char *[]){
      volume->vg, cut->native, cut->set_id, lvm_dm_name (found), NULL });
}

SnapCut *
lvm_plan (SnapVolume *volume, const char *name, const char *set_id,
          char **record, GError **error)
{
  const LvmVolume *self = (LvmVolume *) volume;
  g_autoptr (GPtrArray) report = lvm_report (self->vg, error);
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
  *record =
      format_record (self, snap_lvm_report_by_uuid (report, volume->id), cut);
  return &cut->parent;
}

void
lvm_free_cut (SnapCut *cut)
{
  LvmCut *self = (LvmCut *) cut;

  g_free (self->name);
  g_free (self->set_id);
  g_free (self->native);
  g_free (self);
}

/* ---- prepare, cut, commit ---- */

static LvmKind
kind_of (const SnapCut *cut)
{
  return ((LvmVolume *) cut->volume)->kind;
}

gboolean
lvm_prepare (SnapCut *cut, GError **error)
{
  return kind_of (cut) != LVM_THIN || lvm_thin_prepare ((LvmCut *) cut, error);
}

/* Thin ones have their instant in the window. */
gboolean
lvm_cut (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (kind_of (cuts[i]) == LVM_CLASSIC
        && !lvm_classic_cut ((LvmCut *) cuts[i], error))
      return FALSE;
  return TRUE;
}

gboolean
lvm_window (SnapCut **cuts, gsize n_cuts, SnapWindow *window, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (kind_of (cuts[i]) == LVM_THIN
        && !lvm_thin_window ((LvmCut *) cuts[i], window, error))
      return FALSE;
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

/* ---- undoing ---- */

static gboolean
remove_volume (const char *vg, const char *native, GError **error)
{
  g_autofree char *path = g_strdup_printf ("%s/%s", vg, native);
  const char *arguments[] = { "lvremove", "-f", "-q", "--", path, NULL };

  return lvm_run (arguments, NULL, error);
}

/* Only what carries the tag of the set is ours to remove. */
static gboolean
remove_if_made (const char *vg, const char *native, const char *set_id,
                GError **error)
{
  g_autoptr (GPtrArray) report = lvm_report (vg, error);
  const SnapLvmVolume *made;

  if (report == NULL)
    return FALSE;
  made = snap_lvm_report_by_name (report, vg, native);
  if (made == NULL)
    return TRUE;
  if (lvm_is_of_set (made, set_id))
    return remove_volume (vg, native, error);
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "%s/%s: does not carry the tag of set %s, so not "
                         "deleted",
                         vg, native, set_id);
}

gboolean
lvm_abort (SnapCut *cut, GError **error)
{
  const LvmCut *self = (LvmCut *) cut;
  const LvmVolume *volume = (LvmVolume *) cut->volume;

  return remove_if_made (volume->vg, self->native, self->set_id, error);
}

/* Whoever died in the window may have left the origin suspended. */
static gboolean
wake (const char *dm_name, GError **error)
{
  SnapDmInfo info;

  if (!snap_dm_info (dm_name, &info, error))
    return FALSE;
  return !info.suspended || snap_dm_resume (dm_name, error);
}

gboolean
lvm_recover (const char *record, SnapRecover action, GError **error)
{
  g_auto (GStrv) words = snap_record_parse (record, 4, error);

  if (words == NULL || !wake (words[3], error))
    return FALSE;
  return action == SNAP_RECOVER_COMMIT
         || remove_if_made (words[0], words[1], words[2], error);
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
  return found != NULL && remove_volume (self->vg, found->name, error);
}
