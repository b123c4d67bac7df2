/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery: finish what a maker that is gone has left in the journal.  Every
 * step can be done again, because recovery can be killed as well.
 */
#include "config.h"

#include "snapshot-core/service/set.h"

#include "snapshot-core/os/fd.h"
#include "snapshot-core/service/hold.h"
#include "snapshot-core/service/set-record.h"
#include "snapshot-core/service/volume.h"

static const SnapDriver *
find_driver (SnapRegistry *registry, const char *name, GError **error)
{
  const SnapDriver *driver = snap_registry_lookup (registry, name);

  if (driver == NULL)
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "driver %s: is needed to finish a set, but is not there",
                    name);
  return driver;
}

/* ---- creations ---- */

static gboolean
recover_cut (SnapRegistry *registry, const SnapManifestMember *member,
             SnapRecover action, GError **error)
{
  const SnapDriver *driver = find_driver (registry, member->driver, error);

  if (driver == NULL)
    return FALSE;
  if (driver->recover == NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "driver %s: cannot finish a set", driver->name);
  return driver->recover (member->record, action, error);
}

/* The manifest is the decision: with it the set is completed, without it
   there never was one. */
static gboolean
recover_creation (SnapState *state, SnapRegistry *registry,
                  const SnapManifest *entry, GError **error)
{
  GError *reason = NULL;
  g_autofree char *manifest = snap_manifest_load (state, entry->id, &reason);
  SnapRecover action =
      manifest != NULL ? SNAP_RECOVER_COMMIT : SNAP_RECOVER_ABORT;

  for (guint i = 0; reason == NULL && i < entry->members->len; i++)
    recover_cut (registry, g_ptr_array_index (entry->members, i), action,
                 &reason);
  if (reason == NULL)
    return TRUE;
  g_propagate_error (error, reason);
  return FALSE;
}

/* ---- deletions ---- */

static gboolean
remove_if_there (SnapState *state, SnapVolume *volume,
                 const SnapManifestMember *member, GError **error)
{
  g_autoptr (GPtrArray) points = volume->driver->list (volume, error);
  g_autoptr (SnapHold) hold = NULL;
  SnapPoint *point;

  if (points == NULL)
    return FALSE;
  point = snap_set_record_find (points, member->point_id);
  if (point == NULL || !point->ours
      || g_strcmp0 (point->set_id, member->point_set) != 0)
    return TRUE;
  if (volume->driver->remove == NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "driver %s: cannot delete snapshots",
                           volume->driver->name);
  hold = snap_hold_take (state, volume, point, SNAP_HOLD_DELETE, error);
  return hold != NULL && volume->driver->remove (volume, point, error);
}

/* A deletion may have been killed between the point and what was made around
   it. */
static gboolean
sweep (SnapVolume *volume, GError **error)
{
  return !SNAP_DRIVER_HAS (volume->driver, sweep)
         || volume->driver->sweep (volume, error);
}

/* NOT_FOUND from a volume that is there means that the point is gone: done.
   A volume that is not there may come back, and its point with it. */
static gboolean
remove_again (SnapState *state, SnapRegistry *registry,
              SnapManifestMember *member, GError **error)
{
  const SnapOpenOptions options = { .mode = SNAP_OPEN_MANAGE,
                                    .secret_file = member->secret_file,
                                    .snapshot_dir = member->snapshot_dir,
                                    .volume_id = member->volume_id };
  SnapReference reference = { .location = member->location,
                              .part = member->part };
  g_autoptr (GError) reason = NULL;
  g_autoptr (SnapVolume) volume = NULL;

  reference.driver = find_driver (registry, member->driver, error);
  if (reference.driver == NULL)
    return FALSE;
  volume = snap_volume_open (registry, &reference, &options, error);
  if (volume == NULL)
    return FALSE;
  if (remove_if_there (state, volume, member, &reason))
    sweep (volume, &reason);
  if (reason != NULL
      && !g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND)) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  return snap_set_record_forget (state, member, error);
}

static gboolean
recover_deletion (SnapState *state, SnapRegistry *registry,
                  const SnapManifest *entry, GError **error)
{
  GError *first = NULL;

  for (guint i = 0; i < entry->members->len; i++)
    remove_again (state, registry, g_ptr_array_index (entry->members, i),
                  first == NULL ? &first : NULL);
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, first);
  return FALSE;
}

/* ---- guests ---- */

/* Before all else: a guest that stands still keeps its users waiting. */
static gboolean
release_guest (SnapJournal *journal, const SnapManifest *entry, GError **error)
{
  g_autoptr (GError) reason = NULL;
  snap_autofd int notes_fd = -1;
  SnapGuestTrouble what = SNAP_GUEST_STOPPED | SNAP_GUEST_FROZEN;

  if (entry->guest.monitor == NULL)
    return TRUE;
  notes_fd = snap_journal_read_notes (journal, &reason);
  if (notes_fd < 0 && reason == NULL)
    return TRUE;
  if (notes_fd >= 0)
    what = snap_guard_read_notes (notes_fd);
  return snap_guest_release (entry->guest.monitor, entry->guest.agent, what,
                             error);
}

/* ---- the journal ---- */

/* The text of an entry, checked to be the one of its name; NULL on error. */
static SnapManifest *
parse_entry (SnapState *state, SnapJournal *journal, const char *text,
             GError **error)
{
  const char *id = snap_journal_set_id (journal);
  g_autofree char *path = snap_journal_path (state, id);
  g_autoptr (SnapManifest) entry = snap_manifest_parse (text, path, error);

  if (entry == NULL)
    return NULL;
  if (g_str_equal (entry->id, id) && entry->kind != SNAP_MANIFEST_SET)
    return g_steal_pointer (&entry);
  snap_error_set (error, SNAP_ERROR_CORRUPT,
                  "%s: is not the journal entry of its name", path);
  return NULL;
}

static void
owed_free (SnapSetOwed *owed)
{
  g_free (owed->set_id);
  g_free (owed->name);
  g_free (owed->command);
  g_free (owed);
}

void
snap_set_found_clear (SnapSetFound *self)
{
  g_clear_pointer (&self->owed, g_ptr_array_unref);
}

static void
tell_owed (const SnapManifest *entry, SnapSetFound *found)
{
  SnapSetOwed *owed;

  if (entry->post_cut == NULL)
    return;
  if (found->owed == NULL)
    found->owed = g_ptr_array_new_with_free_func ((GDestroyNotify) owed_free);
  owed = g_new0 (SnapSetOwed, 1);
  owed->set_id = g_strdup (entry->id);
  owed->name = g_strdup (entry->name);
  owed->command = g_strdup (entry->post_cut);
  g_ptr_array_add (found->owed, owed);
}

/* What is owed is told again for as long as the entry is there. */
static gboolean
recover_text (SnapState *state, SnapRegistry *registry, SnapJournal *journal,
              const char *text, SnapSetFound *found, GError **error)
{
  g_autoptr (SnapManifest) entry = parse_entry (state, journal, text, error);

  if (entry == NULL)
    return FALSE;
  tell_owed (entry, found);
  if (!release_guest (journal, entry, error))
    return FALSE;
  return entry->kind == SNAP_MANIFEST_CREATE
             ? recover_creation (state, registry, entry, error)
             : recover_deletion (state, registry, entry, error);
}

/* Takes over @journal. */
static gboolean
recover_entry (SnapState *state, SnapRegistry *registry, SnapJournal *journal,
               const char *text, SnapSetFound *found, GError **error)
{
  if (recover_text (state, registry, journal, text, found, error))
    return snap_journal_finish (journal, error);
  snap_journal_abandon (journal);
  return FALSE;
}

/* Recover the next entry; *more FALSE when there was none. */
static gboolean
recover_next (SnapState *state, SnapRegistry *registry, GHashTable *seen,
              gboolean *more, SnapSetFound *found, GError **error)
{
  SnapJournal *journal = NULL;
  g_autofree char *text = NULL;
  guint n_seen = g_hash_table_size (seen);

  /* An entry that cannot be read is seen all the same: on to the next. */
  if (!snap_journal_next_orphan (state, seen, &journal, &text, error)) {
    *more = g_hash_table_size (seen) > n_seen;
    return FALSE;
  }
  *more = journal != NULL;
  return !*more || recover_entry (state, registry, journal, text, found, error);
}

/* ---- what no entry tells of ---- */

static void
tidy (SnapRegistry *registry, guint *n_finished, GError **error)
{
  for (gsize i = 0; i < snap_registry_n (registry); i++) {
    const SnapDriver *driver = snap_registry_at (registry, i);
    GError *reason = NULL;

    if (!SNAP_DRIVER_HAS (driver, tidy) || driver->tidy (n_finished, &reason))
      continue;
    if (*error == NULL)
      *error = reason;
    else
      g_error_free (reason);
  }
}

gboolean
snap_set_recover (SnapState *state, SnapRegistry *registry, SnapSetFound *found,
                  GError **error)
{
  g_autoptr (GHashTable) seen =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GError) first = NULL;
  gboolean more = TRUE;

  snap_state_sweep (state);
  tidy (registry, &found->n_finished, &first);
  while (more) {
    GError *reason = NULL;

    if (recover_next (state, registry, seen, &more, found, &reason))
      found->n_finished += more;
    else if (first == NULL)
      first = reason;
    else
      g_error_free (reason);
  }
  if (first == NULL)
    return TRUE;
  snap_set_record_make_partial (first);
  g_propagate_error (error, g_steal_pointer (&first));
  return FALSE;
}

/* Let the guest of one entry go; takes over @journal.  What is wrong with the
   entry itself is for recovery to say. */
static gboolean
thaw_entry (SnapState *state, SnapJournal *journal, const char *text,
            guint *n_released, GError **error)
{
  g_autoptr (SnapManifest) entry = parse_entry (state, journal, text, NULL);
  gboolean released = entry == NULL || release_guest (journal, entry, error);

  if (released && entry != NULL && entry->guest.monitor != NULL)
    *n_released += 1;
  snap_journal_abandon (journal);
  return released;
}

/* As recover_next(). */
static gboolean
thaw_next (SnapState *state, GHashTable *seen, gboolean *more,
           guint *n_released, GError **error)
{
  SnapJournal *journal = NULL;
  g_autofree char *text = NULL;
  guint n_seen = g_hash_table_size (seen);

  if (!snap_journal_next_orphan (state, seen, &journal, &text, error)) {
    *more = g_hash_table_size (seen) > n_seen;
    return FALSE;
  }
  *more = journal != NULL;
  return !*more || thaw_entry (state, journal, text, n_released, error);
}

gboolean
snap_set_thaw (SnapState *state, guint *n_released, GError **error)
{
  g_autoptr (GHashTable) seen =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  GError *first = NULL;
  GError *reason = NULL;
  gboolean more = TRUE;

  *n_released = 0;
  while (more)
    if (!thaw_next (state, seen, &more, n_released, &reason)) {
      if (first == NULL)
        first = g_steal_pointer (&reason);
      g_clear_error (&reason);
    }
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, first);
  return FALSE;
}

gboolean
snap_set_forget (SnapState *state, const char *set_id, GError **error)
{
  g_autoptr (GHashTable) seen =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (;;) {
    SnapJournal *journal = NULL;
    g_autofree char *text = NULL;

    if (!snap_journal_next_orphan (state, seen, &journal, &text, error))
      return FALSE;
    if (journal == NULL)
      return snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                             "%s: nothing unfinished has this id", set_id);
    if (g_str_equal (snap_journal_set_id (journal), set_id))
      return snap_journal_finish (journal, error);
    snap_journal_abandon (journal);
  }
}
