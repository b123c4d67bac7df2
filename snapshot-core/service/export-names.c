/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export-names.h"

#include <string.h>

/* What the steps of resolving share. */
typedef struct {
  SnapRegistry *registry;
  SnapState *state;
  const SnapOpenOptions *options;
  GPtrArray *volumes;    /* SnapExportVolume */
  GPtrArray *names;      /* SnapExportName */
  GHashTable *known;     /* the names by themselves */
  GPtrArray *references; /* SnapReference, one a source */
  GPtrArray *volume_of;  /* SnapExportVolume of each source, borrowed */
} Resolve;

void
snap_export_name_free (SnapExportName *self)
{
  g_free (self->name);
  g_free (self->description);
  g_free (self);
}

SnapExportName *
snap_export_name_new (SnapExportVolume *volume, SnapExportPoint *from,
                      SnapExportPoint *to)
{
  SnapExportName *self = g_new0 (SnapExportName, 1);

  self->name = snap_export_volume_name (volume, from, to);
  self->description = snap_export_volume_describe (volume, from, to);
  self->volume = volume;
  self->from = from;
  self->to = to;
  return self;
}

/* ---- volumes ---- */

static SnapExportVolume *
find_volume (Resolve *self, const SnapVolume *volume, const char *label)
{
  for (guint i = 0; i < self->volumes->len; i++) {
    SnapExportVolume *known = g_ptr_array_index (self->volumes, i);

    if (snap_volume_equal (known->volume, volume)
        && (label == NULL || g_str_equal (known->label, label)))
      return known;
  }
  return NULL;
}

/* Several references to one volume share it. */
static gboolean
open_source (Resolve *self, const SnapExportSource *source, GError **error)
{
  SnapReference *reference =
      snap_reference_parse (self->registry, source->reference, error);
  g_autoptr (SnapVolume) volume = NULL;
  SnapExportVolume *served;

  if (reference == NULL)
    return FALSE;
  g_ptr_array_add (self->references, reference);
  volume = snap_volume_open (self->registry, reference, self->options, error);
  if (volume == NULL)
    return FALSE;
  served = find_volume (self, volume, source->label);
  if (served == NULL) {
    served = snap_export_volume_new (g_steal_pointer (&volume), source->label);
    g_ptr_array_add (self->volumes, served);
  }
  served->everything |= reference->to == NULL;
  g_ptr_array_add (self->volume_of, served);
  return TRUE;
}

/* Labels stand in names where there are several volumes, or where the user
   gave one. */
static gboolean
choose_prefixes (Resolve *self, GError **error)
{
  g_autoptr (GHashTable) labels = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < self->volumes->len; i++) {
    SnapExportVolume *volume = g_ptr_array_index (self->volumes, i);

    if (self->volumes->len > 1 || volume->labelled)
      volume->prefix = volume->label_prefix;
    if (!g_hash_table_add (labels, volume->label))
      return snap_error_set (error, SNAP_ERROR_USAGE,
                             "%s: two volumes would be called %s; name one "
                             "with LABEL=%s",
                             volume->volume->location, volume->label,
                             volume->volume->location);
  }
  return TRUE;
}

static gboolean
fix_volumes (Resolve *self, GError **error)
{
  for (guint i = 0; i < self->volumes->len; i++)
    if (!snap_export_volume_fix (g_ptr_array_index (self->volumes, i),
                                 self->state, error))
      return FALSE;
  return TRUE;
}

/* ---- names ---- */

/* The name in the list, new or known. */
static const char *
add_name (Resolve *self, SnapExportVolume *volume, SnapExportPoint *from,
          SnapExportPoint *to)
{
  SnapExportName *name = snap_export_name_new (volume, from, to);
  gpointer known;

  if (g_hash_table_lookup_extended (self->known, name->name, &known, NULL)) {
    snap_export_name_free (name);
    return known;
  }
  g_hash_table_add (self->known, name->name);
  g_ptr_array_add (self->names, name);
  return name->name;
}

static gboolean
check_image (const SnapExportPoint *to, GError **error)
{
  if (to->point->kind != SNAP_POINT_EMPTY
      && to->point->kind != SNAP_POINT_CHECKPOINT)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE, "%s@%s: has no data to serve",
                         to->volume->location, to->point->name);
}

static gboolean
check_pair (const SnapExportPoint *from, const SnapExportPoint *to,
            GError **error)
{
  return snap_diff_check (to->volume, from->point, to->point, error);
}

/* A reference with a point or range is exactly that export. */
static const char *
name_exactly (Resolve *self, SnapExportVolume *volume,
              const SnapReference *reference, GError **error)
{
  SnapExportPoint *from = NULL;
  SnapExportPoint *to =
      snap_export_volume_hold (volume, self->state, reference->to, error);

  if (to == NULL || !check_image (to, error))
    return NULL;
  if (reference->from != NULL) {
    from =
        snap_export_volume_hold (volume, self->state, reference->from, error);
    if (from == NULL || !check_pair (from, to, error))
      return NULL;
  }
  return add_name (self, volume, from, to);
}

/* Snapshot @index of a volume that is served whole. */
static SnapExportPoint *
snapshot_at (SnapExportVolume *volume, guint index)
{
  return g_ptr_array_index (volume->points, index);
}

/* All snapshots that have data, the newest first; the newest one's name. */
static const char *
name_snapshots (Resolve *self, SnapExportVolume *volume, GError **error)
{
  const char *newest = NULL;

  for (guint i = volume->snapshots->len; i-- > 0;) {
    SnapExportPoint *point = snapshot_at (volume, i);

    if (point->point->kind != SNAP_POINT_SNAPSHOT)
      continue;
    if (newest == NULL)
      newest = add_name (self, volume, NULL, point);
    else if (self->names->len < SNAP_EXPORT_MAX_LISTED)
      add_name (self, volume, NULL, point);
  }
  if (newest == NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: has no snapshot",
                    volume->volume->location);
  return newest;
}

/* The pairs with one newer point; the nearest base first. */
static void
name_pairs_to (Resolve *self, SnapExportVolume *volume, guint newer)
{
  SnapExportPoint *to = snapshot_at (volume, newer);

  if (to->point->kind != SNAP_POINT_SNAPSHOT)
    return;
  for (guint i = newer; i-- > 0;) {
    SnapExportPoint *from = snapshot_at (volume, i);

    if (self->names->len >= SNAP_EXPORT_MAX_LISTED)
      return;
    if (snap_diff_comparable (volume->volume, from->point, to->point))
      add_name (self, volume, from, to);
  }
}

static void
name_pairs (Resolve *self, SnapExportVolume *volume)
{
  if (volume->everything)
    for (guint newer = volume->snapshots->len; newer-- > 0;)
      name_pairs_to (self, volume, newer);
}

static gboolean
name_all (Resolve *self, char **default_name, GError **error)
{
  for (guint i = 0; i < self->references->len; i++) {
    const SnapReference *reference = g_ptr_array_index (self->references, i);
    SnapExportVolume *volume = g_ptr_array_index (self->volume_of, i);
    const char *name = reference->to == NULL
                           ? name_snapshots (self, volume, error)
                           : name_exactly (self, volume, reference, error);

    if (name == NULL)
      return FALSE;
    if (i == 0)
      *default_name = g_strdup (name);
  }
  for (guint i = 0; i < self->volumes->len; i++)
    name_pairs (self, g_ptr_array_index (self->volumes, i));
  return TRUE;
}

static gboolean
resolve (Resolve *self, const SnapExportSource *sources, gsize n_sources,
         char **default_name, GError **error)
{
  for (gsize i = 0; i < n_sources; i++)
    if (!open_source (self, &sources[i], error))
      return FALSE;
  return choose_prefixes (self, error) && fix_volumes (self, error)
         && name_all (self, default_name, error);
}

gboolean
snap_export_names_resolve (SnapRegistry *registry, SnapState *state,
                           const SnapExportSource *sources, gsize n_sources,
                           const SnapOpenOptions *options, GPtrArray *volumes,
                           GPtrArray *names, char **default_name,
                           GError **error)
{
  g_autoptr (GHashTable) known = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GPtrArray) references =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_reference_free);
  g_autoptr (GPtrArray) volume_of = g_ptr_array_new ();
  Resolve self = { registry, state, options,    volumes,
                   names,    known, references, volume_of };

  return resolve (&self, sources, n_sources, default_name, error);
}

/* ---- names that were not listed ---- */

static gboolean
no_such_export (const char *name, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no such export",
                         name);
}

static SnapExportName *
find_in (SnapExportVolume *volume, const char *name, GError **error)
{
  g_autofree char *from_word = NULL;
  g_autofree char *to_word = NULL;
  SnapExportPoint *from = NULL;
  SnapExportPoint *to = NULL;

  if (snap_point_range_parse (name + strlen (volume->prefix), &from_word,
                              &to_word, NULL)) {
    to = snap_export_volume_lookup (volume, to_word);
    from = from_word != NULL ? snap_export_volume_lookup (volume, from_word)
                             : NULL;
  }
  if (to == NULL || (from_word != NULL && from == NULL)) {
    no_such_export (name, error);
    return NULL;
  }
  return check_image (to, error) ? snap_export_name_new (volume, from, to)
                                 : NULL;
}

SnapExportName *
snap_export_names_find (const GPtrArray *volumes, const char *name,
                        GError **error)
{
  for (guint i = 0; i < volumes->len; i++) {
    SnapExportVolume *volume = g_ptr_array_index (volumes, i);

    if (volume->everything && g_str_has_prefix (name, volume->prefix))
      return find_in (volume, name, error);
  }
  no_such_export (name, error);
  return NULL;
}
