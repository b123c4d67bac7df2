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
add_volumes (const SnapManifest *manifest, GHashTable *references)
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

GPtrArray *
snap_catalogue_volumes (SnapState *state, GError **error)
{
  g_autoptr (GDir) dir = NULL;
  g_autoptr (GHashTable) references =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  const char *name;

  if (!snap_state_open_part (state, "sets", &dir, error))
    return NULL;
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *set_id = NULL;
    g_autoptr (SnapManifest) manifest = NULL;

    if (!g_str_has_suffix (name, SNAP_STATE_TEXT_SUFFIX))
      continue;
    set_id = g_strndup (name, strlen (name) - strlen (SNAP_STATE_TEXT_SUFFIX));
    manifest = load_set (state, set_id, NULL);
    if (manifest != NULL)
      add_volumes (manifest, references);
  }
  return take_sorted (references);
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
    };
  return TRUE;
}
