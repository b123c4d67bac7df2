/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Classic snapshots: dm-snapshot saves each chunk of the origin before it is
 * overwritten for the first time.
 *
 * What two snapshots differ by is told by the older one's table alone: its
 * first n entries, where n is what it held when the younger one was made.
 * That count, the watermark, is kept as a tag of the older one:
 *
 *   nbdsnap.mark.SET_ID=COUNT
 *
 * It is read after the younger one exists: read late it holds too much,
 * read early it would lose changes.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <stdio.h>
#include <string.h>

#include "snapshot-core/os/device-mapper.h"

/* What a snapshot gets to save changes in: a part of its origin. */
#define SAVE_PERCENT 20
#define MIN_SAVE (64 * 1024 * 1024)

#define SECTOR 512

/* ---- room ---- */

/* More than the whole origin, its table and header is never used. */
static guint64
save_size (const SnapLvmVolume *origin)
{
  guint64 whole = origin->size + origin->size / 128 + MIN_SAVE / 16;
  guint64 part = origin->size / 100 * SAVE_PERCENT;
  guint64 size = MIN (MAX (part, MIN_SAVE), whole);
  guint64 unit = MAX (origin->extent_size, 1);

  return (size + unit - 1) / unit * unit;
}

static const char *
why_not (const SnapLvmVolume *origin)
{
  if (origin->origin_uuid != NULL)
    return "is a snapshot itself";
  if (!origin->active)
    return "is not active, and a classic snapshot of it would be empty";
  return NULL;
}

gboolean
lvm_classic_check (const LvmVolume *volume, GPtrArray *report, GError **error)
{
  const SnapLvmVolume *origin = lvm_report_volume (report, volume, error);
  const char *fact;

  if (origin == NULL)
    return FALSE;
  fact = why_not (origin);
  if (fact != NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: %s",
                           volume->parent.location, fact);
  if (origin->vg_free >= save_size (origin))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_NO_SPACE,
                         "%s: a snapshot of %s needs %" G_GUINT64_FORMAT
                         " bytes, %" G_GUINT64_FORMAT " are free",
                         volume->vg, volume->name, save_size (origin),
                         origin->vg_free);
}

/* ---- the cut ---- */

static gboolean
create (const LvmCut *cut, const char *origin, const char *size, int lock_fd,
        GError **error)
{
  const LvmVolume *volume = (LvmVolume *) cut->parent.volume;
  g_autoptr (GPtrArray) arguments = g_ptr_array_new ();
  g_autoptr (GPtrArray) owned = g_ptr_array_new_with_free_func (g_free);
  const char *const fixed[] = { "lvcreate", "-q", "-s", "-pr",
                                "-L",       size, "-n", cut->native };

  for (gsize i = 0; i < G_N_ELEMENTS (fixed); i++)
    g_ptr_array_add (arguments, (char *) fixed[i]);
  lvm_native_tags (arguments, owned, cut->name, cut->set_id, volume->parent.id);
  g_ptr_array_add (arguments, (char *) "--");
  g_ptr_array_add (arguments, (char *) origin);
  g_ptr_array_add (arguments, NULL);
  return lvm_run_locked ((const char *const *) arguments->pdata, lock_fd,
                         error);
}

gboolean
lvm_classic_cut (const LvmCut *cut, int lock_fd, GError **error)
{
  const LvmVolume *volume = (LvmVolume *) cut->parent.volume;
  g_autoptr (GPtrArray) report = lvm_report (volume->vg, error);
  const SnapLvmVolume *origin =
      report != NULL ? lvm_report_volume (report, volume, error) : NULL;
  g_autofree char *path = NULL;
  g_autofree char *size = NULL;

  if (origin == NULL)
    return FALSE;
  path = g_strdup_printf ("%s/%s", origin->vg, origin->name);
  size = g_strdup_printf ("%" G_GUINT64_FORMAT "b", save_size (origin));
  return create (cut, path, size, lock_fd, error);
}

/* ---- watermarks ---- */

gboolean
lvm_classic_count (const SnapLvmVolume *snapshot, guint64 *count,
                   GError **error)
{
  g_autofree char *status = snap_dm_status (lvm_dm_name (snapshot), error);
  guint64 used, total, metadata;

  if (status == NULL)
    return FALSE;
  if (sscanf (status,
              "snapshot %" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT
              " %" G_GUINT64_FORMAT,
              &used, &total, &metadata)
          == 3
      && used >= metadata && snapshot->chunk_size >= SECTOR) {
    *count = (used - metadata) / (snapshot->chunk_size / SECTOR);
    return TRUE;
  }
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s/%s: %s",
                         snapshot->vg, snapshot->name, status);
}

char *
lvm_classic_mark_tag (const char *set_id)
{
  return g_strconcat ("nbdsnap.mark.", set_id, NULL);
}

static gboolean
mark (const SnapLvmVolume *older, const char *set_id, GError **error)
{
  g_autofree char *tag = lvm_classic_mark_tag (set_id);
  g_autofree char *path = g_strdup_printf ("%s/%s", older->vg, older->name);
  g_autofree char *value = NULL;
  const char *arguments[] = { "lvchange", "-q", "--addtag", NULL,
                              "--",       path, NULL };
  guint64 count;

  if (snap_lvm_volume_tag (older, tag) != NULL)
    return TRUE;
  if (!lvm_classic_count (older, &count, error))
    return FALSE;
  value = g_strdup_printf ("%s=%" G_GUINT64_FORMAT, tag, count);
  arguments[3] = value;
  return lvm_run (arguments, NULL, error);
}

/* Without a mark the diff is a superset, nothing worse: one that cannot be
   set (the older snapshot has overflowed) is no reason to lose the set. */
gboolean
lvm_classic_commit (const LvmCut *cut, GError **error)
{
  const LvmVolume *volume = (LvmVolume *) cut->parent.volume;
  g_autoptr (GPtrArray) report = lvm_report (volume->vg, error);

  for (guint i = 0; report != NULL && i < report->len; i++) {
    const SnapLvmVolume *older = report->pdata[i];
    SnapPoint *point;

    if (!lvm_is_snapshot_of (older, volume->parent.id)
        || lvm_is_of_set (older, cut->set_id) || !older->active
        || older->invalid || older->merging)
      continue;
    point = lvm_point_new (older);
    if (point->ours)
      mark (older, cut->set_id, NULL);
    snap_point_free (point);
  }
  return report != NULL;
}
