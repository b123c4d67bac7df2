/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export-volume.h"

SnapExportVolume *
snap_export_volume_new (SnapVolume *volume, const char *label)
{
  SnapExportVolume *self = g_new0 (SnapExportVolume, 1);
  g_autofree char *encoded = NULL;

  self->volume = volume;
  self->label = g_strdup (label != NULL ? label : volume->label);
  self->labelled = label != NULL;
  self->prefix = "";
  encoded = snap_point_range_format (NULL, self->label);
  self->label_prefix = g_strconcat (encoded, "@", NULL);
  self->points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_export_point_free);
  return self;
}

void
snap_export_volume_free (SnapExportVolume *self)
{
  g_ptr_array_unref (self->points);
  g_clear_pointer (&self->words, snap_point_words_free);
  g_clear_pointer (&self->snapshots, g_ptr_array_unref);
  snap_volume_unref (self->volume);
  g_free (self->label_prefix);
  g_free (self->label);
  g_free (self);
}

/* ---- points ---- */

static gboolean
is_same (const SnapPoint *a, const SnapPoint *b)
{
  return a->kind == b->kind && g_strcmp0 (a->id, b->id) == 0;
}

static SnapExportPoint *
find_held (SnapExportVolume *self, const SnapPoint *point)
{
  for (guint i = 0; i < self->points->len; i++) {
    SnapExportPoint *held = g_ptr_array_index (self->points, i);

    if (is_same (held->point, point))
      return held;
  }
  return NULL;
}

/* Hold @point, or give the hold there is. */
static SnapExportPoint *
hold_point (SnapExportVolume *self, SnapState *state, const SnapPoint *point,
            GError **error)
{
  const char *word = snap_point_words_get (self->words, point);
  SnapExportPoint *held = find_held (self, point);

  if (held != NULL)
    return held;
  held = snap_export_point_new (state, self->volume, point, word, error);
  if (held != NULL)
    g_ptr_array_add (self->points, held);
  return held;
}

/* A point that some volumes do not have. */
static gboolean
hold_if_there (SnapExportVolume *self, SnapState *state, const char *word,
               GError **error)
{
  GError *reason = NULL;

  if (snap_export_volume_hold (self, state, word, &reason) != NULL)
    return TRUE;
  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND)) {
    g_error_free (reason);
    return TRUE;
  }
  g_propagate_error (error, reason);
  return FALSE;
}

/* Each is held by a descriptor, for as long as it is served. */
static gboolean
check_count (const SnapExportVolume *self, GError **error)
{
  guint n = self->snapshots->len;

  if (n <= SNAP_EXPORT_MAX_SNAPSHOTS)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "%s: has %u snapshots, and no more than %d are served "
                         "together; name the ones that are wanted",
                         self->volume->location, n, SNAP_EXPORT_MAX_SNAPSHOTS);
}

gboolean
snap_export_volume_fix (SnapExportVolume *self, SnapState *state,
                        GError **error)
{
  self->snapshots = snap_volume_list (self->volume, state, error);
  if (self->snapshots == NULL)
    return FALSE;
  self->words = snap_point_words_new (self->snapshots);
  if (!self->everything)
    return TRUE;
  if (!check_count (self, error))
    return FALSE;
  for (guint i = 0; i < self->snapshots->len; i++)
    if (hold_point (self, state, g_ptr_array_index (self->snapshots, i), error)
        == NULL)
      return FALSE;
  return hold_if_there (self, state, "empty", error)
         && hold_if_there (self, state, "backing", error);
}

SnapExportPoint *
snap_export_volume_hold (SnapExportVolume *self, SnapState *state,
                         const char *word, GError **error)
{
  g_autoptr (SnapPoint) point =
      snap_volume_find_point (self->volume, state, word, error);

  return point != NULL ? hold_point (self, state, point, error) : NULL;
}

/* ---- older points ---- */

/* How many of the snapshots are older than @to; nothing is older than what
   lies below the volume. */
static guint
n_older (SnapExportVolume *self, const SnapPoint *to)
{
  if (to->kind == SNAP_POINT_BACKING || to->kind == SNAP_POINT_EMPTY)
    return 0;
  for (guint i = 0; i < self->snapshots->len; i++)
    if (is_same (g_ptr_array_index (self->snapshots, i), to))
      return i;
  return self->snapshots->len;
}

static SnapExportPoint *
find_backing (SnapExportVolume *self)
{
  for (guint i = 0; i < self->points->len; i++) {
    SnapExportPoint *held = g_ptr_array_index (self->points, i);

    if (held->point->kind == SNAP_POINT_BACKING)
      return held;
  }
  return NULL;
}

void
snap_export_volume_each_older (SnapExportVolume *self,
                               const SnapExportPoint *to,
                               SnapExportPointFunc func, gpointer user_data)
{
  SnapExportPoint *backing = find_backing (self);

  for (guint i = n_older (self, to->point); i-- > 0;) {
    SnapExportPoint *held =
        find_held (self, g_ptr_array_index (self->snapshots, i));

    if (held != NULL && !func (held, user_data))
      return;
  }
  if (backing != NULL && backing != to)
    func (backing, user_data);
}

void
snap_export_volume_hold_older (SnapExportVolume *self, SnapState *state,
                               const SnapExportPoint *to)
{
  for (guint i = n_older (self, to->point); i-- > 0;) {
    const SnapPoint *from = g_ptr_array_index (self->snapshots, i);

    if (snap_diff_comparable (self->volume, from, to->point))
      hold_point (self, state, from, NULL);
  }
}

/* ---- names ---- */

static gboolean
is_newest (SnapExportVolume *self, const SnapExportPoint *point)
{
  GPtrArray *all = self->snapshots;

  return all->len > 0
         && is_same (point->point, g_ptr_array_index (all, all->len - 1));
}

SnapExportPoint *
snap_export_volume_lookup (SnapExportVolume *self, const char *word)
{
  for (guint i = 0; i < self->points->len; i++) {
    SnapExportPoint *point = g_ptr_array_index (self->points, i);

    if (g_str_equal (point->word, word)
        || g_strcmp0 (point->point->id, word) == 0
        || (g_str_equal (word, "newest") && is_newest (self, point)))
      return point;
  }
  return NULL;
}

char *
snap_export_volume_name (SnapExportVolume *self, const SnapExportPoint *from,
                         const SnapExportPoint *to)
{
  g_autofree char *range =
      snap_point_range_format (from != NULL ? from->word : NULL, to->word);

  return g_strconcat (self->prefix, range, NULL);
}

static char *
format_time (const SnapPoint *point)
{
  g_autoptr (GDateTime) time =
      g_date_time_new_from_unix_utc (point->time_us / G_USEC_PER_SEC);

  if (point->time_us == 0 || time == NULL)
    return g_strdup ("");
  return g_date_time_format (time, ", %Y-%m-%dT%H:%M:%SZ");
}

char *
snap_export_volume_describe (SnapExportVolume *self,
                             const SnapExportPoint *from,
                             const SnapExportPoint *to)
{
  g_autofree char *reference = snap_reference_format (
      self->volume->driver->name, self->volume->location, self->volume->part,
      from != NULL ? from->word : NULL, to->word);
  g_autofree char *valid = g_utf8_make_valid (reference, -1);
  g_autofree char *time = format_time (to->point);

  return g_strconcat (from != NULL ? "changes of " : "", valid, time, NULL);
}
