/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deletion.  What can be refused is refused first; the journal entry decides;
 * from then on it goes forward only, here or in recovery.
 */
#include "config.h"

#include "snapshot-core/service/set.h"

#include "snapshot-core/service/hold.h"
#include "snapshot-core/service/set-record.h"
#include "snapshot-core/service/volume.h"

static gboolean
is_same_point (const SnapSetMember *a, const SnapSetMember *b)
{
  return snap_volume_equal (a->volume, b->volume)
         && g_str_equal (a->point->id, b->point->id);
}

/* Set an error about one member.  Returns FALSE. */
static gboolean
refuse (const SnapSetMember *member, SnapError code, const char *fact,
        GError **error)
{
  return snap_error_set (error, code, "%s@%s: %s", member->volume->location,
                         member->point->name, fact);
}

/* ---- the checks ---- */

static gboolean
check_deletable (const SnapSetMember *member, GError **error)
{
  if (member->point->kind != SNAP_POINT_SNAPSHOT && !member->point->ours)
    return refuse (member, SNAP_ERROR_USAGE, "is not a snapshot", error);
  if (!member->point->ours)
    return refuse (member, SNAP_ERROR_UNSUPPORTED,
                   "was not made by nbdsnap and is not deleted", error);
  if (member->volume->driver->remove == NULL)
    return refuse (member, SNAP_ERROR_UNSUPPORTED,
                   "its driver cannot delete snapshots", error);
  return TRUE;
}

static gboolean
check_members (const SnapSetMember *members, gsize n_members, GError **error)
{
  for (gsize i = 0; i < n_members; i++) {
    if (!check_deletable (&members[i], error))
      return FALSE;
    for (gsize j = 0; j < i; j++)
      if (is_same_point (&members[i], &members[j]))
        return refuse (&members[i], SNAP_ERROR_USAGE, "is named twice", error);
  }
  return TRUE;
}

/* Whether the storage has the point still: *present. */
static gboolean
look_up (const SnapSetMember *member, gboolean *present, GError **error)
{
  g_autoptr (GPtrArray) points =
      member->volume->driver->list (member->volume, error);

  if (points == NULL)
    return FALSE;
  *present = snap_set_record_find (points, member->point->id) != NULL;
  return TRUE;
}

static gboolean
check_each_present (const SnapSetMember *members, gsize n_members,
                    GError **error)
{
  for (gsize i = 0; i < n_members; i++) {
    gboolean present = FALSE;

    if (!look_up (&members[i], &present, error))
      return FALSE;
    if (!present)
      return refuse (&members[i], SNAP_ERROR_NOT_FOUND, "is gone", error);
  }
  return TRUE;
}

static gboolean
check_present (const SnapSetMember *members, gsize n_members, GError **error)
{
  g_autofree SnapVolume **volumes = g_new (SnapVolume *, n_members);
  gboolean present;

  for (gsize i = 0; i < n_members; i++)
    volumes[i] = members[i].volume;
  present = snap_volumes_look (volumes, n_members, error)
            && check_each_present (members, n_members, error);
  snap_volumes_look_away (volumes, n_members);
  return present;
}

static gboolean
add_hold (GPtrArray *holds, SnapHold *hold)
{
  if (hold == NULL)
    return FALSE;
  g_ptr_array_add (holds, hold);
  return TRUE;
}

/* Whether member @index is the first one on its volume. */
static gboolean
is_first_of_volume (const SnapSetMember *members, gsize index)
{
  for (gsize i = 0; i < index; i++)
    if (snap_volume_equal (members[i].volume, members[index].volume))
      return FALSE;
  return TRUE;
}

/* Be the only user of all points and the only one who changes the volumes. */
static GPtrArray *
hold_members (SnapState *state, const SnapSetMember *members, gsize n_members,
              GError **error)
{
  g_autoptr (GPtrArray) holds =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_hold_release);

  for (gsize i = 0; i < n_members; i++) {
    SnapVolume *volume = members[i].volume;

    if (is_first_of_volume (members, i)
        && !add_hold (holds, snap_hold_take_volume (state, volume, error)))
      return NULL;
    if (!add_hold (holds, snap_hold_take (state, volume, members[i].point,
                                          SNAP_HOLD_DELETE, error)))
      return NULL;
  }
  return g_steal_pointer (&holds);
}

/* All checks; the holds that keep the answer true, or NULL. */
static GPtrArray *
check_all (SnapState *state, const SnapSetMember *members, gsize n_members,
           GError **error)
{
  g_autoptr (GPtrArray) holds = NULL;

  if (!check_members (members, n_members, error))
    return NULL;
  holds = hold_members (state, members, n_members, error);
  if (holds == NULL || !check_present (members, n_members, error))
    return NULL;
  return g_steal_pointer (&holds);
}

gboolean
snap_set_check_delete (SnapState *state, const SnapSetMember *members,
                       gsize n_members, GError **error)
{
  g_autoptr (GPtrArray) holds = check_all (state, members, n_members, error);

  return holds != NULL;
}

/* ---- the deletion ---- */

static gboolean
remove_point (SnapState *state, const SnapSetMember *member,
              SnapManifestMember *record, GError **error)
{
  g_autoptr (GError) reason = NULL;

  if (!member->volume->driver->remove (member->volume, member->point, &reason)
      && !g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND)) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  return snap_set_record_forget (state, record, error);
}

/* A storage that refuses the very first point has changed nothing: the
   deletion can still be called off. */
static gboolean
can_be_called_off (const SnapSetMember *first)
{
  gboolean present = FALSE;

  return look_up (first, &present, NULL) && present;
}

/*
 * Remove every point that can be.  Returns the first error.  Sets *called_off
 * if it stopped with everything still there.
 */
static GError *
remove_points (SnapState *state, const SnapSetMember *members, gsize n_members,
               const SnapManifest *entry, gboolean *called_off)
{
  GError *first = NULL;

  for (gsize i = 0; i < n_members; i++) {
    g_autoptr (GError) reason = NULL;

    if (remove_point (state, &members[i], g_ptr_array_index (entry->members, i),
                      &reason))
      continue;
    if (first == NULL)
      first = g_steal_pointer (&reason);
    *called_off = i == 0 && can_be_called_off (&members[0]);
    if (*called_off)
      break;
  }
  return first;
}

static SnapManifest *
make_entry (const SnapSetMember *members, gsize n_members)
{
  g_autofree char *id = snap_set_id_new ();
  SnapManifest *entry = snap_manifest_new (SNAP_MANIFEST_DELETE, id, NULL);

  for (gsize i = 0; i < n_members; i++)
    snap_set_record_add_point (entry, members[i].volume, members[i].point);
  return entry;
}

static gboolean
delete_decided (SnapState *state, const SnapSetMember *members, gsize n_members,
                const SnapManifest *entry, SnapJournal *journal, GError **error)
{
  gboolean called_off = FALSE;
  GError *reason =
      remove_points (state, members, n_members, entry, &called_off);

  if (reason == NULL || called_off) {
    g_autoptr (GError) again = NULL;

    if (!snap_journal_finish (journal, &again)) {
      g_clear_error (&reason);
      reason = g_steal_pointer (&again);
      snap_set_record_make_partial (reason);
    }
  }
  else {
    snap_journal_abandon (journal);
    snap_set_record_make_partial (reason);
  }
  if (reason == NULL)
    return TRUE;
  g_propagate_error (error, reason);
  return FALSE;
}

gboolean
snap_set_delete (SnapState *state, const SnapSetMember *members,
                 gsize n_members, GError **error)
{
  g_autoptr (GPtrArray) holds = check_all (state, members, n_members, error);
  g_autoptr (SnapManifest) entry = NULL;
  g_autofree char *text = NULL;
  SnapJournal *journal;

  if (holds == NULL)
    return FALSE;
  if (n_members == 0)
    return TRUE;
  entry = make_entry (members, n_members);
  text = snap_manifest_format (entry);
  journal = snap_journal_begin (state, entry->id, text, error);
  if (journal == NULL)
    return FALSE;
  return delete_decided (state, members, n_members, entry, journal, error);
}
