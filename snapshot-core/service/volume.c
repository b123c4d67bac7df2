/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/volume.h"

#include <string.h>

#include "snapshot-core/os/reserved-directory.h"
#include "snapshot-core/service/hidden.h"
#include "snapshot-core/service/point-words.h"

/* ---- open and close ---- */

gboolean
snap_snapshot_dir_check (const char *name, GError **error)
{
  const char *fault = name != NULL ? snap_reserved_name_fault (name) : NULL;

  if (fault == NULL)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE, "snapshot directory '%s': %s",
                         name, fault);
}

static SnapOpenOptions *
options_dup (const SnapOpenOptions *options)
{
  SnapOpenOptions *copy = g_memdup2 (options, sizeof *options);

  copy->secret_file = g_strdup (options->secret_file);
  copy->snapshot_dir = g_strdup (options->snapshot_dir);
  copy->volume_id = g_strdup (options->volume_id);
  copy->mechanism = g_strdup (options->mechanism);
  copy->scratch_dir = g_strdup (options->scratch_dir);
  copy->consumer = g_strdup (options->consumer);
  return copy;
}

static void
options_free (SnapOpenOptions *options)
{
  g_free ((char *) options->secret_file);
  g_free ((char *) options->snapshot_dir);
  g_free ((char *) options->volume_id);
  g_free ((char *) options->mechanism);
  g_free ((char *) options->scratch_dir);
  g_free ((char *) options->consumer);
  g_free (options);
}

SnapVolume *
snap_volume_open (SnapRegistry *registry, const SnapReference *reference,
                  const SnapOpenOptions *options, GError **error)
{
  static const SnapOpenOptions defaults = { .mode = SNAP_OPEN_READ };
  const SnapDriver *driver = reference->driver;
  SnapVolume *self;

  if (options == NULL)
    options = &defaults;
  if (!snap_snapshot_dir_check (options->snapshot_dir, error))
    return NULL;
  if (driver == NULL)
    driver = snap_registry_probe (registry, reference->location, error);
  if (driver == NULL)
    return NULL;
  self = driver->open (reference->location, reference->part, options, error);
  if (self == NULL)
    return NULL;
  g_atomic_ref_count_init (&self->ref_count);
  self->options = options_dup (options);
  return self;
}

SnapVolume *
snap_volume_ref (SnapVolume *self)
{
  g_atomic_ref_count_inc (&self->ref_count);
  return self;
}

void
snap_volume_unref (SnapVolume *self)
{
  SnapOpenOptions *options;

  if (self == NULL || !g_atomic_ref_count_dec (&self->ref_count))
    return;
  options = self->options;
  self->driver->close (self);
  options_free (options);
}

gboolean
snap_volume_equal (const SnapVolume *a, const SnapVolume *b)
{
  return a->driver == b->driver && g_str_equal (a->id, b->id)
         && g_strcmp0 (a->part, b->part) == 0;
}

/* ---- looking once ---- */

/* How many volumes from the first one on are of one driver. */
static gsize
n_of_one_driver (SnapVolume **volumes, gsize n_volumes)
{
  gsize n = 1;

  while (n < n_volumes && volumes[n]->driver == volumes[0]->driver)
    n++;
  return n;
}

void
snap_volumes_look_away (SnapVolume **volumes, gsize n_volumes)
{
  for (gsize i = 0; i < n_volumes; i++)
    if (SNAP_DRIVER_HAS (volumes[i]->driver, look_away))
      volumes[i]->driver->look_away (&volumes[i], 1);
}

gboolean
snap_volumes_look (SnapVolume **volumes, gsize n_volumes, GError **error)
{
  for (gsize i = 0, n; i < n_volumes; i += n) {
    const SnapDriver *driver = volumes[i]->driver;

    n = n_of_one_driver (&volumes[i], n_volumes - i);
    if (SNAP_DRIVER_HAS (driver, look)
        && !driver->look (&volumes[i], n, error)) {
      snap_volumes_look_away (volumes, i);
      return FALSE;
    }
  }
  return TRUE;
}

/* ---- points ---- */

GPtrArray *
snap_volume_list (SnapVolume *self, SnapState *state, GError **error)
{
  g_autoptr (GPtrArray) points = self->driver->list (self, error);
  g_autoptr (SnapHidden) hidden = NULL;

  if (points == NULL || state == NULL)
    return g_steal_pointer (&points);
  hidden = snap_hidden_read (state, error);
  if (hidden == NULL)
    return NULL;
  for (guint i = points->len; i-- > 0;)
    if (snap_hidden_has (hidden, self, g_ptr_array_index (points, i)))
      g_ptr_array_remove_index (points, i);
  return g_steal_pointer (&points);
}

static SnapPoint *
find_special (SnapVolume *self, SnapPointKind kind, const char *name,
              GError **error)
{
  if (self->driver->special != NULL)
    return self->driver->special (self, kind, error);
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s@%s: %s volumes have none",
                  self->location, name, self->driver->name);
  return NULL;
}

/* A checkpoint has no data, and so is no snapshot. */
static SnapPoint *
find_newest (SnapVolume *self, const GPtrArray *snapshots, GError **error)
{
  for (guint i = snapshots->len; i-- > 0;) {
    const SnapPoint *point = g_ptr_array_index (snapshots, i);

    if (point->kind == SNAP_POINT_SNAPSHOT)
      return snap_point_dup (point);
  }
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: has no snapshot",
                  self->location);
  return NULL;
}

static SnapPoint *
make_empty (void)
{
  SnapPoint *point = snap_point_new (SNAP_POINT_EMPTY, "empty");

  point->id = g_strdup ("empty");
  return point;
}

static gboolean
is_snapshot_called (const SnapPoint *point, const char *word)
{
  return point->kind == SNAP_POINT_SNAPSHOT && g_str_equal (point->name, word);
}

static gboolean
has_name (const SnapPoint *point, const char *word)
{
  return g_str_equal (point->name, word);
}

static gboolean
has_id (const SnapPoint *point, const char *word)
{
  gsize length = strlen (word);

  if (!g_str_has_prefix (point->id, word))
    return FALSE;
  return point->id[length] == '\0'
         || (point->id[length] == '/' && strspn (word, "0123456789") == length);
}

typedef gboolean (*PointMatch) (const SnapPoint *point, const char *word);

/* The points that match, borrowed from @snapshots. */
static GPtrArray *
find_matches (const GPtrArray *snapshots, PointMatch matches, const char *word)
{
  GPtrArray *found = g_ptr_array_new ();

  for (guint i = 0; i < snapshots->len; i++)
    if (matches (g_ptr_array_index (snapshots, i), word))
      g_ptr_array_add (found, g_ptr_array_index (snapshots, i));
  return found;
}

static SnapPoint *
refuse_ambiguous (SnapVolume *self, const GPtrArray *found, const char *word,
                  GError **error)
{
  g_autoptr (GString) ids = g_string_new (NULL);

  for (guint i = 0; i < found->len; i++) {
    const SnapPoint *point = g_ptr_array_index (found, i);

    g_string_append_printf (ids, "%s%s", i > 0 ? ", " : "", point->id);
  }
  snap_error_set (error, SNAP_ERROR_USAGE,
                  "%s@%s: several snapshots are called this, name one by its "
                  "id: %s",
                  self->location, word, ids->str);
  return NULL;
}

static SnapPoint *
find_snapshot (SnapVolume *self, const GPtrArray *snapshots, const char *word,
               GError **error)
{
  static const PointMatch matches[] = { is_snapshot_called, has_name, has_id };

  for (gsize i = 0; i < G_N_ELEMENTS (matches); i++) {
    g_autoptr (GPtrArray) found = find_matches (snapshots, matches[i], word);

    if (found->len == 1)
      return snap_point_dup (g_ptr_array_index (found, 0));
    if (found->len > 1)
      return refuse_ambiguous (self, found, word, error);
  }
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s@%s: no such snapshot",
                  self->location, word);
  return NULL;
}

SnapPoint *
snap_volume_find_point (SnapVolume *self, SnapState *state, const char *name,
                        GError **error)
{
  g_autoptr (GPtrArray) snapshots = NULL;

  if (g_str_equal (name, "empty"))
    return make_empty ();
  if (g_str_equal (name, "live"))
    return find_special (self, SNAP_POINT_LIVE, name, error);
  if (g_str_equal (name, "backing"))
    return find_special (self, SNAP_POINT_BACKING, name, error);

  snapshots = snap_volume_list (self, state, error);
  if (snapshots == NULL)
    return NULL;
  if (g_str_equal (name, "newest"))
    return find_newest (self, snapshots, error);
  return find_snapshot (self, snapshots, name, error);
}

const char *
snap_volume_point_word (const GPtrArray *snapshots, const SnapPoint *point)
{
  g_autoptr (SnapPointWords) words = snap_point_words_new (snapshots);

  return snap_point_words_get (words, point);
}

char *
snap_volume_format_reference (const SnapVolume *self, const char *point_name)
{
  return snap_reference_format (self->driver->name, self->location, self->part,
                                NULL, point_name);
}
