/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/hidden.h"

#include "snapshot-core/format/manifest.h"

struct _SnapHidden {
  GHashTable *set_ids;    /* of every entry */
  GHashTable *identities; /* of points that are to go, see identity() */
};

static char *
identity (const char *driver, const char *volume_id, const char *point_id)
{
  return g_strjoin ("\n", driver, volume_id, point_id, NULL);
}

void
snap_hidden_free (SnapHidden *self)
{
  if (self == NULL)
    return;
  g_clear_pointer (&self->set_ids, g_hash_table_unref);
  g_clear_pointer (&self->identities, g_hash_table_unref);
  g_free (self);
}

/* An entry that cannot be understood hides what was made under its id. */
static void
hide_deleted (SnapHidden *self, const char *text)
{
  g_autoptr (SnapManifest) entry = snap_manifest_parse (text, "entry", NULL);

  if (entry == NULL || entry->kind != SNAP_MANIFEST_DELETE)
    return;
  for (guint i = 0; i < entry->members->len; i++) {
    const SnapManifestMember *member = g_ptr_array_index (entry->members, i);

    if (member->volume_id != NULL)
      g_hash_table_add (
          self->identities,
          identity (member->driver, member->volume_id, member->point_id));
  }
}

SnapHidden *
snap_hidden_read (SnapState *state, GError **error)
{
  g_autoptr (SnapHidden) self = g_new0 (SnapHidden, 1);
  GHashTableIter iter;
  gpointer id;

  self->identities =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  self->set_ids = snap_journal_list (state, error);
  if (self->set_ids == NULL)
    return NULL;

  g_hash_table_iter_init (&iter, self->set_ids);
  while (g_hash_table_iter_next (&iter, &id, NULL)) {
    GError *reason = NULL;
    g_autofree char *text = snap_journal_peek (state, id, &reason);

    if (reason != NULL) {
      g_propagate_error (error, reason);
      return NULL;
    }
    if (text != NULL)
      hide_deleted (self, text);
  }
  return g_steal_pointer (&self);
}

gboolean
snap_hidden_has (SnapHidden *self, const SnapVolume *volume,
                 const SnapPoint *point)
{
  g_autofree char *key = identity (volume->driver->name, volume->id, point->id);

  return (point->set_id != NULL
          && g_hash_table_contains (self->set_ids, point->set_id))
         || g_hash_table_contains (self->identities, key);
}
