/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/catalogue.h"

#include <string.h>

#include "snapshot-core/format/manifest.h"
#include "snapshot-core/service/reference.h"
#include "snapshot-core/service/state-text.h"

/* The manifest of a set; NULL without an error when there is none. */
static SnapManifest *
load_set (SnapState *state, const char *set_id, GError **error)
{
  g_autofree char *object = g_strdup_printf ("set %s", set_id);
  g_autofree char *text = snap_manifest_load (state, set_id, error);

  return text != NULL ? snap_manifest_parse (text, object, error) : NULL;
}

static void
add_volumes (const SnapManifest *manifest, gpointer references)
{
  for (guint i = 0; i < manifest->members->len; i++) {
    const SnapManifestMember *member = g_ptr_array_index (manifest->members, i);

    g_hash_table_add (references,
                      snap_reference_format (member->driver, member->location,
                                             member->part, NULL, NULL));
  }
}

static gint
compare_texts (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

/* The keys, which the array takes over. */
static GPtrArray *
take_sorted (GHashTable *references)
{
  GPtrArray *sorted = g_ptr_array_new_with_free_func (g_free);
  GHashTableIter iter;
  gpointer reference;

  g_hash_table_iter_init (&iter, references);
  while (g_hash_table_iter_next (&iter, &reference, NULL))
    g_ptr_array_add (sorted, g_strdup (reference));
  g_ptr_array_sort (sorted, compare_texts);
  return sorted;
}

/* Called with each manifest that can be read as one. */
typedef void (*VisitFunc) (const SnapManifest *manifest, gpointer user_data);

static gboolean
visit_sets (SnapState *state, VisitFunc visit, gpointer user_data,
            GError **error)
{
  g_autoptr (GDir) dir = NULL;
  const char *name;

  if (!snap_state_open_part (state, "sets", &dir, error))
    return FALSE;
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *set_id = NULL;
    g_autoptr (SnapManifest) manifest = NULL;

    if (!g_str_has_suffix (name, SNAP_STATE_TEXT_SUFFIX))
      continue;
    set_id = g_strndup (name, strlen (name) - strlen (SNAP_STATE_TEXT_SUFFIX));
    manifest = load_set (state, set_id, NULL);
    if (manifest != NULL)
      visit (manifest, user_data);
  }
  return TRUE;
}

GPtrArray *
snap_catalogue_volumes (SnapState *state, GError **error)
{
  g_autoptr (GHashTable) references =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  if (!visit_sets (state, add_volumes, references, error))
    return NULL;
  return take_sorted (references);
}

/* ---- one set ---- */

typedef struct {
  const char *name;
  GPtrArray *ids; /* char * */
} Search;

static void
add_if_called (const SnapManifest *manifest, gpointer user_data)
{
  Search *search = user_data;

  if (g_strcmp0 (manifest->name, search->name) == 0
      || g_str_equal (manifest->id, search->name))
    g_ptr_array_add (search->ids, g_strdup (manifest->id));
}

char *
snap_catalogue_find_set (SnapState *state, const char *name, GError **error)
{
  g_autoptr (GPtrArray) ids = g_ptr_array_new_with_free_func (g_free);
  Search search = { .name = name, .ids = ids };
  g_autofree char *list = NULL;

  if (!visit_sets (state, add_if_called, &search, error))
    return NULL;
  if (ids->len == 1)
    return g_strdup (g_ptr_array_index (ids, 0));
  if (ids->len == 0) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no such set", name);
    return NULL;
  }
  g_ptr_array_sort (ids, compare_texts);
  g_ptr_array_add (ids, NULL);
  list = g_strjoinv (", ", (char **) ids->pdata);
  snap_error_set (error, SNAP_ERROR_USAGE,
                  "%s: several sets have this name; their ids are %s", name,
                  list);
  return NULL;
}

static SnapReference *
refer_to_member (SnapRegistry *registry, const SnapManifestMember *member,
                 GError **error)
{
  const SnapDriver *driver = snap_registry_lookup (registry, member->driver);
  SnapReference *reference;

  if (driver == NULL) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: no driver %s is there",
                    member->location, member->driver);
    return NULL;
  }
  reference = g_new0 (SnapReference, 1);
  reference->driver = driver;
  reference->location = g_strdup (member->location);
  reference->part = g_strdup (member->part);
  return reference;
}

GPtrArray *
snap_catalogue_read_members (SnapState *state, SnapRegistry *registry,
                             const char *set_id, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (SnapManifest) manifest = load_set (state, set_id, &reason);
  g_autoptr (GPtrArray) members =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_reference_free);

  if (manifest == NULL && reason == NULL)
    snap_error_set (&reason, SNAP_ERROR_NOT_FOUND, "set %s: is gone", set_id);
  for (guint i = 0; reason == NULL && i < manifest->members->len; i++) {
    SnapReference *added = refer_to_member (
        registry, g_ptr_array_index (manifest->members, i), &reason);

    if (added != NULL)
      g_ptr_array_add (members, added);
  }
  if (reason == NULL)
    return g_steal_pointer (&members);
  g_propagate_error (error, g_steal_pointer (&reason));
  return NULL;
}

gboolean
snap_catalogue_read_set (SnapState *state, const char *set_id,
                         SnapCatalogueSet *set, gboolean *found, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (SnapManifest) manifest = load_set (state, set_id, &reason);

  *found = manifest != NULL;
  if (reason != NULL) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  if (manifest != NULL)
    *set = (SnapCatalogueSet){
      .consistency =
          manifest->atomic ? SNAP_SET_ATOMIC : SNAP_SET_ONE_AFTER_ANOTHER,
      .window_us = manifest->window_us,
      .n_volumes = manifest->members->len,
      .has_guest = manifest->guest.monitor != NULL,
      .quiesce = manifest->guest.quiesce,
      .stopped_us = manifest->guest.stopped_us,
      .frozen_us = manifest->guest.frozen_us,
    };
  return TRUE;
}
