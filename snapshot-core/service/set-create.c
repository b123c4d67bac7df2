/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creation of a set, in an order that makes it complete or absent whenever it
 * is killed:
 *
 *   plan      nothing is changed
 *   journal   the records are on disk: from here on recovery aborts
 *   prepare   and cut, after a command of the user's
 *   manifest  its rename decides: from here on recovery commits
 *   commit    after another command
 *   journal   its removal makes the points visible
 *
 * The decision lies before the commit, so that no cut is ever aborted after
 * another one, or itself, was committed.
 */
#include "config.h"

#include "snapshot-core/service/set.h"

#include "snapshot-core/os/block-stack.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/service/cuts.h"
#include "snapshot-core/service/hold.h"
#include "snapshot-core/service/set-record.h"
#include "snapshot-core/service/volume.h"

/* One creation under way. */
typedef struct {
  SnapState *state;
  SnapVolume **volumes;
  gsize n_volumes;
  SnapGuest *guest;       /* borrowed, or @found, or NULL */
  const SnapHooks *hooks; /* borrowed, or NULL */
  GCancellable *cancellable;

  SnapGuest *found;    /* that the volumes are disks of */
  SnapSet *set;        /* the result, filled in step by step */
  GPtrArray *holds;    /* SnapHold: we alone change these volumes */
  SnapManifest *entry; /* what the journal says */
  SnapCuts *cuts;
  SnapJournal *journal;
  gboolean undecided; /* whether the manifest is there cannot be known */
} Creation;

static void
creation_clear (Creation *self)
{
  snap_volumes_look_away (self->volumes, self->n_volumes);
  snap_cuts_free (self->cuts);
  snap_journal_abandon (self->journal);
  snap_manifest_free (self->entry);
  g_clear_pointer (&self->holds, g_ptr_array_unref);
  snap_guest_free (self->found);
  snap_set_free (self->set);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Creation, creation_clear)

static void
creation_init (Creation *self, const char *name)
{
  self->set = g_new0 (SnapSet, 1);
  self->set->name = g_strdup (name);
  self->set->set_id = snap_set_id_new ();
  self->set->points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);
  self->holds =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_hold_release);
  self->entry =
      snap_manifest_new (SNAP_MANIFEST_CREATE, self->set->set_id, name);
}

/* ---- before anything is made ---- */

static gboolean
check_volumes (const Creation *self, GError **error)
{
  if (self->n_volumes == 0)
    return snap_error_set (error, SNAP_ERROR_USAGE, "set: no volume is named");
  for (gsize i = 0; i < self->n_volumes; i++)
    for (gsize j = 0; j < i; j++)
      if (snap_volume_equal (self->volumes[i], self->volumes[j]))
        return snap_error_set (error, SNAP_ERROR_USAGE,
                               "%s: is named twice in the set",
                               self->volumes[i]->location);
  return TRUE;
}

/* One guest a set: two cannot be cut at one instant. */
static gboolean
find_guest (Creation *self, GError **error)
{
  for (gsize i = 0; i < self->n_volumes; i++) {
    g_autofree char *monitor = snap_volume_monitor (self->volumes[i]);
    const SnapGuestSpec spec = { .monitor = monitor };

    if (monitor == NULL)
      continue;
    if (self->guest == NULL)
      self->guest = self->found = snap_guest_open (&spec, error);
    if (self->guest == NULL)
      return FALSE;
    if (!g_str_equal (snap_guest_monitor (self->guest), monitor))
      return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                             "%s: is a disk of another guest than %s",
                             self->volumes[i]->location,
                             snap_guest_monitor (self->guest));
  }
  return TRUE;
}

static gboolean
hold_volumes (Creation *self, GError **error)
{
  for (gsize i = 0; i < self->n_volumes; i++) {
    SnapHold *hold =
        snap_hold_take_volume (self->state, self->volumes[i], error);

    if (hold == NULL)
      return FALSE;
    g_ptr_array_add (self->holds, hold);
  }
  return TRUE;
}

/* What is written there would wait for the volume, and be in the snapshot
   half done. */
static gboolean
check_state_directory (const Creation *self, GError **error)
{
  const char *directory = snap_state_directory (self->state);

  for (gsize i = 0; i < self->n_volumes; i++) {
    SnapVolume *volume = self->volumes[i];
    g_autofree char *device = SNAP_DRIVER_HAS (volume->driver, device)
                                  ? volume->driver->device (volume)
                                  : NULL;

    if (device != NULL && snap_path_lies_on (directory, device))
      return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                             "%s: lies on %s, which is to be cut: name another "
                             "state directory",
                             directory, volume->location);
  }
  return TRUE;
}

/* Asks the storage, not the listing: an unfinished set has its name too. */
static gboolean
check_name_is_free (SnapVolume *volume, const char *name, GError **error)
{
  g_autoptr (GPtrArray) points = volume->driver->list (volume, error);

  for (guint i = 0; points != NULL && i < points->len; i++) {
    const SnapPoint *point = g_ptr_array_index (points, i);

    if (g_str_equal (point->name, name))
      return snap_error_set (error, SNAP_ERROR_EXISTS,
                             "%s@%s: exists already, with id %s",
                             volume->location, name, point->id);
  }
  return points != NULL;
}

/* Under the holds: from here on nobody else gives one away. */
static gboolean
check_names (const Creation *self, GError **error)
{
  if (!snap_volumes_look (self->volumes, self->n_volumes, error))
    return FALSE;
  for (gsize i = 0; i < self->n_volumes; i++)
    if (!check_name_is_free (self->volumes[i], self->set->name, error))
      return FALSE;
  return TRUE;
}

static gboolean
plan (Creation *self, SnapSetFlags flags, GError **error)
{
  self->cuts = snap_cuts_plan (self->volumes, self->n_volumes, self->guest,
                               self->set->name, self->entry, error);
  snap_volumes_look_away (self->volumes, self->n_volumes);
  if (self->cuts == NULL)
    return FALSE;
  self->set->consistency = snap_cuts_are_atomic (self->cuts)
                               ? SNAP_SET_ATOMIC
                               : SNAP_SET_ONE_AFTER_ANOTHER;
  if (self->set->consistency != SNAP_SET_ATOMIC
      && (flags & SNAP_SET_REQUIRE_ATOMIC) != 0)
    return snap_error_set (error, SNAP_ERROR_FAILED,
                           "%s: these volumes cannot be cut at one instant",
                           self->set->name);
  return TRUE;
}

/* What a manifest or journal entry tells of the guest. */
static void
describe_guest (const Creation *self, SnapManifestGuest *guest)
{
  if (self->guest == NULL)
    return;
  guest->monitor = g_strdup (snap_guest_monitor (self->guest));
  guest->agent = g_strdup (snap_guest_agent (self->guest));
  guest->quiesce = self->set->has_guest ? self->set->quiesce
                                        : snap_guest_quiesce (self->guest);
  guest->stopped_us = self->set->stopped_us;
  guest->frozen_us = self->set->frozen_us;
}

/* From the first of the user's commands to the end of the second one. */
static gboolean
note_hooks (Creation *self, gboolean under_way, GError **error)
{
  g_autofree char *text = NULL;

  if (self->hooks == NULL || self->hooks->post_cut == NULL)
    return TRUE;
  g_free (self->entry->post_cut);
  self->entry->post_cut = g_strdup (under_way ? self->hooks->post_cut : NULL);
  text = snap_manifest_format (self->entry);
  return snap_journal_update (self->journal, text, error);
}

static gboolean
begin_journal (Creation *self, GError **error)
{
  g_autofree char *text = NULL;

  describe_guest (self, &self->entry->guest);
  text = snap_manifest_format (self->entry);
  self->journal =
      snap_journal_begin (self->state, self->set->set_id, text, error);
  return self->journal != NULL;
}

/* ---- making it ---- */

static char *
format_manifest (const Creation *self)
{
  g_autoptr (SnapManifest) manifest =
      snap_manifest_new (SNAP_MANIFEST_SET, self->set->set_id, self->set->name);

  manifest->atomic = self->set->consistency == SNAP_SET_ATOMIC;
  manifest->window_us = self->set->window_us;
  describe_guest (self, &manifest->guest);
  for (gsize i = 0; i < self->n_volumes; i++)
    snap_set_record_add (manifest, self->volumes[i]);
  return snap_manifest_format (manifest);
}

/* A save that fails may have put the file there all the same, and the next
   start of the machine may see it: only a removal that worked says it is
   not. */
static gboolean
save_manifest (Creation *self, GError **error)
{
  g_autofree char *text = format_manifest (self);

  if (snap_manifest_save (self->state, self->set->set_id, text, error))
    return TRUE;
  self->undecided =
      !snap_manifest_remove (self->state, self->set->set_id, NULL);
  return FALSE;
}

/* What says that somebody is at work on this set and these volumes. */
static GArray *
list_locks (const Creation *self)
{
  GArray *locks = g_array_new (FALSE, FALSE, sizeof (int));
  int fd = snap_journal_lock_fd (self->journal);

  g_array_append_val (locks, fd);
  for (guint i = 0; i < self->holds->len; i++) {
    fd = snap_hold_lock_fd (g_ptr_array_index (self->holds, i));
    g_array_append_val (locks, fd);
  }
  return locks;
}

/* Some guests thaw by themselves before the end. */
static SnapQuiesce
quiesce_reached (const SnapGuest *guest, const SnapGuardTimes *times)
{
  SnapQuiesce wanted = snap_guest_quiesce (guest);

  return wanted == SNAP_QUIESCE_AGENT && !times->frozen ? SNAP_QUIESCE_PAUSE
                                                        : wanted;
}

static gboolean
cut (Creation *self, GError **error)
{
  SnapGuardTimes times = { 0 };

  if (!snap_cuts_cut (self->cuts, self->cancellable, &times, error))
    return FALSE;
  self->set->window_us = times.window_us;
  self->set->stopped_us = times.stopped_us;
  self->set->frozen_us = times.frozen_us;
  self->set->has_guest = self->guest != NULL;
  if (self->guest != NULL)
    self->set->quiesce = quiesce_reached (self->guest, &times);
  return TRUE;
}

static gboolean
stand_by (Creation *self, GError **error)
{
  g_autoptr (GArray) locks = list_locks (self);
  snap_autofd int notes_fd = -1;

  if (self->guest != NULL) {
    notes_fd = snap_journal_open_notes (self->journal, error);
    if (notes_fd < 0)
      return FALSE;
  }
  return snap_cuts_stand_by (self->cuts, locks, notes_fd, error);
}

/* The command may take long: what the cut is about is looked at after it. */
static gboolean
cut_and_decide (Creation *self, GError **error)
{
  return snap_hooks_run_pre_cut (self->hooks, self->set->set_id,
                                 self->set->name, self->cancellable, error)
         && stand_by (self, error) && cut (self, error)
         && snap_cuts_check_cancelled (self->cancellable, error)
         && save_manifest (self, error);
}

static void
append_reason (GError *reason, const char *prefix, const GError *other)
{
  g_autofree char *message = reason->message;

  reason->message = g_strconcat (message, "; ", prefix, other->message, NULL);
}

static SnapHookOutcome
outcome_of (const GError *reason)
{
  if (reason == NULL)
    return SNAP_HOOK_COMPLETE;
  return g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_CANCELLED)
             ? SNAP_HOOK_INTERRUPTED
             : SNAP_HOOK_FAILED;
}

/* At once, since somebody may wait for it: before what was cut is committed
   or undone.  @reason is why nothing was, or NULL. */
static void
run_post_cut (Creation *self, GError *reason)
{
  g_autoptr (GError) failure = NULL;

  if (!snap_hooks_run_post_cut (self->hooks, self->set->set_id, self->set->name,
                                outcome_of (reason), &failure)) {
    if (reason != NULL)
      append_reason (reason, "", failure);
    else
      self->set->post_cut_failure = g_strdup (failure->message);
  }

  /* If it cannot be noted, recovery would tell of it once too often. */
  note_hooks (self, FALSE, NULL);
}

static gboolean
make (Creation *self, GError **error)
{
  GError *reason = NULL;
  gboolean made;

  if (!snap_cuts_prepare (self->cuts, self->cancellable, error)
      || !note_hooks (self, TRUE, error))
    return FALSE;
  made = cut_and_decide (self, &reason);
  run_post_cut (self, reason);
  if (!made)
    g_propagate_error (error, reason);
  return made;
}

/* Leave no trace, or leave the entry to recovery and say so in @reason. */
static void
undo (Creation *self, GError *reason)
{
  /* The storage's tools would wait for a device that stands still: recovery
     resumes it first. */
  gboolean frozen = g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_FROZEN);
  g_autoptr (GError) again = NULL;

  if (!frozen && !self->undecided && snap_cuts_abort (self->cuts, &again)
      && snap_journal_finish (g_steal_pointer (&self->journal), &again))
    return;
  if (again != NULL)
    append_reason (reason, "undoing it: ", again);
  snap_set_record_make_partial (reason);
}

/* ---- after the decision ---- */

static gboolean
collect_point (Creation *self, SnapVolume *volume, GError **error)
{
  g_autoptr (GPtrArray) points = volume->driver->list (volume, error);

  for (guint i = 0; points != NULL && i < points->len; i++) {
    SnapPoint *point = g_ptr_array_index (points, i);

    if (g_strcmp0 (point->set_id, self->set->set_id) == 0) {
      g_ptr_array_add (self->set->points, snap_point_dup (point));
      return TRUE;
    }
  }
  return points != NULL
         && snap_error_set (error, SNAP_ERROR_IO,
                            "%s@%s: was cut, but is not there",
                            volume->location, self->set->name);
}

static gboolean
complete (Creation *self, GError **error)
{
  if (!snap_cuts_commit (self->cuts, error)
      || !snap_volumes_look (self->volumes, self->n_volumes, error))
    return FALSE;
  for (gsize i = 0; i < self->n_volumes; i++)
    if (!collect_point (self, self->volumes[i], error))
      return FALSE;
  return snap_journal_finish (g_steal_pointer (&self->journal), error);
}

SnapSet *
snap_set_create (SnapState *state, SnapVolume **volumes, gsize n_volumes,
                 const SnapSetSpec *spec, GCancellable *cancellable,
                 GError **error)
{
  g_auto (Creation) self = { .state = state,
                             .volumes = volumes,
                             .n_volumes = n_volumes,
                             .guest = spec->guest,
                             .hooks = spec->hooks,
                             .cancellable = cancellable };
  GError *reason = NULL;

  creation_init (&self, spec->name);
  if (!snap_name_check (spec->name, error) || !check_volumes (&self, error)
      || !find_guest (&self, error) || !hold_volumes (&self, error)
      || !check_state_directory (&self, error) || !check_names (&self, error)
      || !plan (&self, spec->flags, error)
      || !snap_cuts_check_cancelled (cancellable, error)
      || !begin_journal (&self, error))
    return NULL;

  if (!make (&self, &reason))
    undo (&self, reason);
  else if (!complete (&self, &reason))
    snap_set_record_make_partial (reason);
  if (reason != NULL) {
    g_propagate_error (error, reason);
    return NULL;
  }
  return g_steal_pointer (&self.set);
}

void
snap_set_free (SnapSet *self)
{
  if (self == NULL)
    return;
  g_free (self->set_id);
  g_free (self->name);
  g_free (self->post_cut_failure);
  g_ptr_array_unref (self->points);
  g_free (self);
}
