/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What both kinds of diff share: finding the two sides, and refusing what is
 * not what it was.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

/* The two sides as LVM reports them now. */
typedef struct {
  GPtrArray *from_report, *to_report;
  const SnapLvmVolume *from, *to;
} Sides;

static void
sides_clear (Sides *self)
{
  g_clear_pointer (&self->from_report, g_ptr_array_unref);
  g_clear_pointer (&self->to_report, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Sides, sides_clear)

static gboolean
refuse (const SnapDiffRequest *request, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s@%s..%s: %s",
                         request->to_volume->location, request->from->name,
                         request->to->name, fact);
}

/* A point that went away after it was resolved is a base that is gone. */
static const SnapLvmVolume *
find_side (GPtrArray *report, SnapVolume *volume, const SnapPoint *point,
           GError **error)
{
  const SnapLvmVolume *found =
      lvm_report_point (report, (LvmVolume *) volume, point, error);

  if (found == NULL && error != NULL)
    (*error)->code = SNAP_ERROR_NOT_COMPARABLE;
  return found;
}

static gboolean
is_on_lvm (const SnapPoint *point)
{
  return point->kind == SNAP_POINT_SNAPSHOT || point->kind == SNAP_POINT_LIVE;
}

static gboolean
find_sides (const SnapDiffRequest *request, Sides *sides, GError **error)
{
  const LvmVolume *from_volume = (LvmVolume *) request->from_volume;
  const LvmVolume *to_volume = (LvmVolume *) request->to_volume;
  GError *reason = NULL;

  if (!is_on_lvm (request->from) || !is_on_lvm (request->to))
    return refuse (request, "only snapshots and live volumes can be compared",
                   error);
  sides->from_report = lvm_report_seen (from_volume, error);
  if (sides->from_report == NULL)
    return FALSE;
  sides->to_report = g_str_equal (from_volume->vg, to_volume->vg)
                         ? g_ptr_array_ref (sides->from_report)
                         : lvm_report_seen (to_volume, error);
  if (sides->to_report == NULL)
    return FALSE;
  sides->from = find_side (sides->from_report, request->from_volume,
                           request->from, &reason);
  if (sides->from != NULL)
    sides->to =
        find_side (sides->to_report, request->to_volume, request->to, &reason);
  if (reason == NULL)
    return TRUE;
  g_propagate_error (error, reason);
  return FALSE;
}

static gboolean
is_thin (const Sides *sides)
{
  return sides->from->thin_id != 0 && sides->to->thin_id != 0;
}

/* A thin volume can have classic snapshots as well. */
static gboolean
is_classic (const SnapPoint *point, const SnapLvmVolume *found)
{
  return point->kind == SNAP_POINT_LIVE || found->thin_id == 0;
}

static gboolean
check_sides (const SnapDiffRequest *request, const Sides *sides, GError **error)
{
  if (is_thin (sides))
    return lvm_thin_comparable (request, sides->to_report, sides->from,
                                sides->to, error);
  if (!is_classic (request->from, sides->from)
      || !is_classic (request->to, sides->to))
    return refuse (request, "one is thin and the other is not", error);
  if (!g_str_equal (request->from_volume->id, request->to_volume->id))
    return refuse (request, "classic snapshots of two volumes", error);
  return lvm_classic_comparable (request, sides->from, sides->to, error);
}

gboolean
lvm_comparable (const SnapDiffRequest *request, GError **error)
{
  g_auto (Sides) sides = { 0 };

  return find_sides (request, &sides, error)
         && check_sides (request, &sides, error);
}

gboolean
lvm_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
          SnapExtentFunc emit, gpointer user_data, GError **error)
{
  g_auto (Sides) sides = { 0 };

  if (!find_sides (request, &sides, error)
      || !check_sides (request, &sides, error))
    return FALSE;
  if (is_thin (&sides))
    return lvm_thin_diff (request, sides.to_report, sides.from, sides.to, info,
                          emit, user_data, error);
  return lvm_classic_diff (request, sides.from, sides.to, info, emit, user_data,
                           error);
}
