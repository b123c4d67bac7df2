/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export-private.h"
#include "snapshot-core/service/export-twin.h"

/* ---- pairs ---- */

/* A SnapExportCompareFunc. */
static gboolean
compare (SnapExportPoint *from, SnapExportPoint *to, SnapExtentFunc emit,
         gpointer emit_data, gpointer exports, GError **error)
{
  SnapExports *self = exports;

  if (self->twin != NULL)
    return snap_export_twin_compare (self->twin, self->volumes, from, to,
                                     self->cancellable, emit, emit_data, error);
  return snap_export_points_compare (from, to, self->cancellable, emit,
                                     emit_data, error);
}

/* The storage may have to be asked, which takes privileges, too. */
gboolean
snap_exports_check (SnapExports *self, SnapExportPoint *from,
                    SnapExportPoint *to, GError **error)
{
  if (self->twin != NULL)
    return snap_export_twin_check (self->twin, self->volumes, from, to,
                                   self->cancellable, error);
  return snap_diff_check (to->volume, from->point, to->point, error);
}

SnapExportPair *
snap_exports_pair_of (SnapExports *self, SnapExportVolume *volume,
                      SnapExportPoint *from, SnapExportPoint *to)
{
  g_autofree char *name = snap_export_volume_name (volume, from, to);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  SnapExportPair *pair = g_hash_table_lookup (self->pairs, name);

  if (pair == NULL) {
    pair = snap_export_pair_new (from, to, compare, self);
    g_hash_table_insert (self->pairs, g_steal_pointer (&name), pair);
  }
  return pair;
}

void
snap_exports_cancel (SnapExports *self)
{
  g_cancellable_cancel (self->cancellable);
}

/* ---- privileges ---- */

typedef struct {
  SnapExports *exports;
  const SnapExportsTwinFuncs *funcs;
  gpointer user_data;
} Separate;

/* The whole life of the process that keeps them.  It is also the one that can
   remove what was made with them. */
static void
run_separately (int socket, gpointer separate)
{
  const Separate *self = separate;

  if (self->funcs->begin != NULL)
    self->funcs->begin (self->user_data);
  snap_export_twin_run (socket, self->exports->volumes);
  snap_exports_free (self->exports);
  if (self->funcs->end != NULL)
    self->funcs->end (self->user_data);
}

static void
keep_open (SnapExports *self)
{
  for (guint i = 0; i < self->volumes->len; i++) {
    GPtrArray *points =
        ((SnapExportVolume *) g_ptr_array_index (self->volumes, i))->points;

    for (guint j = 0; j < points->len; j++)
      snap_export_point_keep_open (g_ptr_array_index (points, j));
  }
}

gboolean
snap_exports_separate (SnapExports *self, const SnapExportsTwinFuncs *funcs,
                       gpointer user_data, GError **error)
{
  Separate separate = { self, funcs, user_data };

  keep_open (self);
  self->twin =
      snap_twin_start ("nbdsnap-compare", run_separately, &separate, error);
  return self->twin != NULL;
}

/* ---- holds ---- */

void
snap_exports_hold_bases (SnapExports *self)
{
  for (guint i = 0; i < self->names->len; i++) {
    const SnapExportName *name = g_ptr_array_index (self->names, i);

    if (name->from == NULL && !name->volume->everything)
      snap_export_volume_hold_older (name->volume, self->state, name->to);
  }
}

/* ---- the list ---- */

typedef struct {
  SnapExport *export;
  SnapExportBaseFunc func;
  gpointer user_data;
} Listing;

static gboolean
list_one (SnapExportPoint *point, gpointer listing)
{
  const Listing *self = listing;
  g_autofree char *word = snap_point_range_format (NULL, point->word);

  return self->func (word, self->user_data);
}

static gboolean
list_comparable (SnapExportPoint *point, gpointer listing)
{
  SnapExport *export = ((const Listing *) listing)->export;

  return !snap_exports_check (export->exports, point, export->point, NULL)
         || list_one (point, listing);
}

void
snap_export_list_bases (SnapExport *self, SnapExportBaseFunc func,
                        gpointer user_data)
{
  Listing listing = { self, func, user_data };

  if (self->pair != NULL)
    list_one (self->pair->from, &listing);
  else
    snap_export_volume_each_older (self->volume, self->point, list_comparable,
                                   &listing);
}

/* ---- one of them ---- */

static SnapExportPoint *
find_base (SnapExport *self, const char *base)
{
  g_autofree char *from = NULL;
  g_autofree char *word = NULL;
  SnapExportPoint *point;

  if (!snap_point_range_parse (base, &from, &word, NULL) || from != NULL)
    return NULL;
  point = snap_export_volume_lookup (self->volume, word);
  if (point == self->point || (self->pair != NULL && point != self->pair->from))
    return NULL;
  return point;
}

SnapExportPair *
snap_export_find_pair (SnapExport *self, const char *base, GError **error)
{
  SnapExportPoint *from = find_base (self, base);

  if (from == NULL) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: %s is no base of it",
                    self->name, base);
    return NULL;
  }
  if (!snap_exports_check (self->exports, from, self->point, error))
    return NULL;
  return snap_exports_pair_of (self->exports, self->volume, from, self->point);
}
