/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/cuts.h"

#include "snapshot-core/service/guard.h"
#include "snapshot-core/service/set-record.h"

/* The cuts of one driver, cut by one call. */
typedef struct {
  const SnapDriver *driver;
  GPtrArray *cuts; /* SnapCut, borrowed */
  guint expected_ms;
} Group;

struct _SnapCuts {
  GPtrArray *all;    /* SnapCut, in the order of the volumes */
  GPtrArray *groups; /* Group, the slowest first */
  SnapGuest *guest;  /* borrowed, or NULL */
  gboolean suspends; /* the guard, devices */
  SnapGuard *guard;  /* ready for the windows, or NULL if there are none */
};

static void
group_free (Group *group)
{
  g_ptr_array_unref (group->cuts);
  g_free (group);
}

static void
cut_free (SnapCut *cut)
{
  cut->volume->driver->free_cut (cut);
}

void
snap_cuts_free (SnapCuts *self)
{
  if (self == NULL)
    return;
  snap_guard_free (self->guard);
  g_ptr_array_unref (self->groups);
  g_ptr_array_unref (self->all);
  g_free (self);
}

/* ---- planning ---- */

static SnapCut *
plan_one (SnapVolume *volume, const char *name, SnapManifest *entry,
          GError **error)
{
  const SnapDriver *driver = volume->driver;
  g_autofree char *record = NULL;
  SnapCut *cut;

  if (driver->plan == NULL) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s: snapshots of %s volumes cannot be made",
                    volume->location, driver->name);
    return NULL;
  }
  cut = driver->plan (volume, name, entry->id, &record, error);
  if (cut != NULL)
    snap_set_record_add (entry, volume)->record = g_steal_pointer (&record);
  return cut;
}

static Group *
group_of (SnapCuts *self, const SnapDriver *driver)
{
  Group *group;

  for (guint i = 0; i < self->groups->len; i++) {
    group = g_ptr_array_index (self->groups, i);
    if (group->driver == driver)
      return group;
  }
  group = g_new0 (Group, 1);
  group->driver = driver;
  group->cuts = g_ptr_array_new ();
  g_ptr_array_add (self->groups, group);
  return group;
}

static gint
compare_slow_first (gconstpointer a, gconstpointer b)
{
  const Group *first = *(Group *const *) a;
  const Group *second = *(Group *const *) b;

  return (first->expected_ms < second->expected_ms)
         - (first->expected_ms > second->expected_ms);
}

static void
make_groups (SnapCuts *self)
{
  for (guint i = 0; i < self->all->len; i++) {
    SnapCut *cut = g_ptr_array_index (self->all, i);
    Group *group = group_of (self, cut->volume->driver);

    g_ptr_array_add (group->cuts, cut);
    group->expected_ms = MAX (group->expected_ms, cut->expected_ms);
  }
  g_ptr_array_sort (self->groups, compare_slow_first);
}

SnapCuts *
snap_cuts_plan (SnapVolume **volumes, gsize n_volumes, SnapGuest *guest,
                const char *name, SnapManifest *entry, GError **error)
{
  g_autoptr (SnapCuts) self = g_new0 (SnapCuts, 1);

  self->guest = guest;
  self->all = g_ptr_array_new_with_free_func ((GDestroyNotify) cut_free);
  self->groups = g_ptr_array_new_with_free_func ((GDestroyNotify) group_free);
  for (gsize i = 0; i < n_volumes; i++) {
    SnapCut *cut = plan_one (volumes[i], name, entry, error);

    if (cut == NULL)
      return NULL;
    g_ptr_array_add (self->all, cut);
  }
  make_groups (self);
  return g_steal_pointer (&self);
}

/* Whatever they lie on, nobody writes to them during the window. */
static gboolean
stand_still (const SnapCuts *self)
{
  if (self->guest == NULL || !snap_guest_stands_still (self->guest))
    return FALSE;
  for (guint i = 0; i < self->all->len; i++) {
    const SnapCut *cut = g_ptr_array_index (self->all, i);

    if (!snap_guest_has (self->guest, cut->volume))
      return FALSE;
  }
  return TRUE;
}

gboolean
snap_cuts_are_atomic (const SnapCuts *self)
{
  const Group *group;

  if (self->all->len == 1 || stand_still (self))
    return TRUE;
  if (self->groups->len != 1)
    return FALSE;
  group = g_ptr_array_index (self->groups, 0);
  return group->driver->cuts_at_once != NULL
         && group->driver->cuts_at_once ((SnapCut **) group->cuts->pdata,
                                         group->cuts->len);
}

/* ---- making ---- */

gboolean
snap_cuts_check_cancelled (GCancellable *cancellable, GError **error)
{
  if (!g_cancellable_is_cancelled (cancellable))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_CANCELLED, "snapshot: interrupted");
}

gboolean
snap_cuts_prepare (SnapCuts *self, GCancellable *cancellable, GError **error)
{
  for (guint i = 0; i < self->all->len; i++) {
    SnapCut *cut = g_ptr_array_index (self->all, i);
    const SnapDriver *driver = cut->volume->driver;

    if (!snap_cuts_check_cancelled (cancellable, error))
      return FALSE;
    if (driver->prepare != NULL && !driver->prepare (cut, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
snap_cuts_stand_by (SnapCuts *self, const GArray *locks, int notes_fd,
                    GError **error)
{
  g_autoptr (SnapWindow) window = snap_window_new ();
  g_autoptr (GArray) kept = g_array_copy ((GArray *) locks);
  SnapGuardGuest connections = { 0 };

  if (self->guest != NULL) {
    snap_guest_add_to_window (self->guest, window);
    connections = snap_guest_connections (self->guest);
    connections.notes_fd = notes_fd;
    snap_guest_add_kept (self->guest, kept);
  }
  for (guint i = 0; i < self->groups->len; i++) {
    const Group *group = g_ptr_array_index (self->groups, i);

    if (SNAP_DRIVER_HAS (group->driver, window)
        && !group->driver->window ((SnapCut **) group->cuts->pdata,
                                   group->cuts->len, window, error))
      return FALSE;
  }
  if (snap_window_is_empty (window))
    return TRUE;
  self->guard = snap_guard_start (
      window, self->guest != NULL ? &connections : NULL, kept, error);
  self->suspends = window->devices->len > 0;
  return self->guard != NULL;
}

static gboolean
cut_groups (SnapCuts *self, GCancellable *cancellable, GError **error)
{
  for (guint i = 0; i < self->groups->len; i++) {
    const Group *group = g_ptr_array_index (self->groups, i);

    if (!snap_cuts_check_cancelled (cancellable, error)
        || !group->driver->cut ((SnapCut **) group->cuts->pdata,
                                group->cuts->len, error))
      return FALSE;
  }
  return TRUE;
}

/* That a guest may still stand still is worse than why its cut failed. */
static void
undo_quiet (SnapCuts *self, GError **reason)
{
  GError *worse = NULL;

  if (snap_guard_undo (self->guard, &worse))
    return;
  g_prefix_error (&worse, "%s; ", (*reason)->message);
  g_error_free (*reason);
  *reason = worse;
}

static gboolean
cut_quietly (SnapCuts *self, GCancellable *cancellable, SnapGuardTimes *times,
             GError **error)
{
  GError *reason = NULL;

  if (!snap_guard_quiet (self->guard, error))
    return FALSE;
  if (cut_groups (self, cancellable, &reason))
    return snap_guard_go (self->guard, times, error);
  undo_quiet (self, &reason);
  g_propagate_error (error, reason);
  return FALSE;
}

/* A guest that may stand still, because what it was spoken to through has
   failed.  Devices may be why, too: then it is said all the same. */
static void
rescue (SnapCuts *self, GError *reason)
{
  if (self->guest == NULL
      || !g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_FROZEN)
      || !snap_guest_rescue (self->guest) || self->suspends)
    return;
  reason->code = SNAP_ERROR_FAILED;
  g_prefix_error (&reason, "all runs as before, but not until it was tried "
                           "anew: ");
}

static gboolean
cut_under_guard (SnapCuts *self, GCancellable *cancellable,
                 SnapGuardTimes *times, GError **error)
{
  GError *reason = NULL;

  if (cut_quietly (self, cancellable, times, &reason)) {
    if (self->guest != NULL)
      snap_guest_take_back (self->guest);
    return TRUE;
  }
  rescue (self, reason);
  if (self->guest != NULL)
    snap_guest_take_back (self->guest);
  g_propagate_error (error, reason);
  return FALSE;
}

static gboolean
settle_groups (SnapCuts *self, GError **error)
{
  for (guint i = 0; i < self->groups->len; i++) {
    const Group *group = g_ptr_array_index (self->groups, i);

    if (SNAP_DRIVER_HAS (group->driver, settle)
        && !group->driver->settle ((SnapCut **) group->cuts->pdata,
                                   group->cuts->len, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
snap_cuts_cut (SnapCuts *self, GCancellable *cancellable, SnapGuardTimes *times,
               GError **error)
{
  gint64 start_us = g_get_monotonic_time ();

  if (self->guard != NULL ? !cut_under_guard (self, cancellable, times, error)
                          : !cut_groups (self, cancellable, error))
    return FALSE;
  times->window_us = g_get_monotonic_time () - start_us;
  return settle_groups (self, error);
}

/* Keep the first of several errors. */
static void
keep_first (GError **first, GError *next)
{
  if (*first == NULL)
    *first = next;
  else
    g_clear_error (&next);
}

static gboolean
end_all (SnapCuts *self, SnapRecover how, GError **error)
{
  GError *first = NULL;

  for (guint i = 0; i < self->all->len; i++) {
    SnapCut *cut = g_ptr_array_index (self->all, i);
    const SnapDriver *driver = cut->volume->driver;
    GError *reason = NULL;
    gboolean ended = how == SNAP_RECOVER_COMMIT ? driver->commit (cut, &reason)
                                                : driver->abort (cut, &reason);

    if (!ended)
      keep_first (&first, reason);
  }
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, first);
  return FALSE;
}

gboolean
snap_cuts_commit (SnapCuts *self, GError **error)
{
  return end_all (self, SNAP_RECOVER_COMMIT, error);
}

gboolean
snap_cuts_abort (SnapCuts *self, GError **error)
{
  return end_all (self, SNAP_RECOVER_ABORT, error);
}
