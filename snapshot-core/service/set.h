/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sets: several volumes cut together, complete or absent.
 *
 * The commit point of a creation is its manifest's rename; of a deletion, its
 * journal entry.  Whatever dies before or after is finished by the next
 * snap_set_recover(), which front ends call before they open a volume to
 * create or delete on it.
 */
#ifndef SNAP_SERVICE_SET_H
#define SNAP_SERVICE_SET_H

#include <gio/gio.h>

#include "snapshot-core/service/guest.h"
#include "snapshot-core/service/hooks.h"
#include "snapshot-core/service/registry.h"
#include "snapshot-core/service/state.h"

typedef enum {
  SNAP_SET_ONE_AFTER_ANOTHER, /* each volume its own instant */
  SNAP_SET_ATOMIC,            /* one instant for all */
} SnapSetConsistency;

typedef struct {
  char *set_id;
  char *name;
  SnapSetConsistency consistency;
  guint64 window_us; /* from the first cut's start to the last one's end */
  gboolean has_guest;
  SnapQuiesce quiesce;           /* how the guest was kept quiet */
  guint64 stopped_us, frozen_us; /* for how long */
  char *post_cut_failure; /* how the command after the cut failed, or NULL */
  GPtrArray *points;      /* SnapPoint, in the order of the volumes */
} SnapSet;

void snap_set_free (SnapSet *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapSet, snap_set_free)

typedef enum {
  SNAP_SET_DEFAULT = 0,
  SNAP_SET_REQUIRE_ATOMIC = 1 << 0, /* refuse rather than be weaker */
} SnapSetFlags;

/* What a set is to be; all of it borrowed. */
typedef struct {
  const char *name;
  SnapSetFlags flags;
  /* Kept quiet meanwhile, as it was opened for; NULL: none, unless volumes are
     a guest's disks by their driver's word: then it is found, and not
     disturbed. */
  SnapGuest *guest;
  const SnapHooks *hooks; /* or NULL */
} SnapSetSpec;

/*
 * Cut a snapshot of every volume (opened with SNAP_OPEN_MANAGE), or of none.
 *
 * The command before the cut is run when all that is slow is done; if it fails
 * nothing is cut.  The one after it is run as soon as it is decided whether
 * the set will be there, whatever happened since: the set is not listed yet,
 * and its failure does not change it.
 *
 * On error nothing is left behind, unless the code is PARTIAL: then the
 * journal holds what recovery will undo, or complete if the manifest was
 * written.  Cancelling works up to the manifest and undoes what was done.
 *
 * Errors: USAGE (the name, or a volume twice), FAILED (weaker than the flags
 * ask), EXISTS, BUSY, NO_SPACE, UNSUPPORTED (disks of two guests, say),
 * CANCELLED, PARTIAL, FROZEN, IO, …
 */
SnapSet *snap_set_create (SnapState *state, SnapVolume **volumes,
                          gsize n_volumes, const SnapSetSpec *spec,
                          GCancellable *cancellable, GError **error);

/* One snapshot to delete; both borrowed. */
typedef struct {
  SnapVolume *volume;
  SnapPoint *point;
} SnapSetMember;

/*
 * Delete all of these or, if one is held, not ours or gone, none.
 *
 * If the storage refuses before anything is gone, the deletion is called off
 * and its error returned.
 *
 * Errors: BUSY (held), UNSUPPORTED (not made by us), NOT_FOUND, PARTIAL (the
 * deletion is decided; the journal holds the rest), IO.
 */
gboolean snap_set_delete (SnapState *state, const SnapSetMember *members,
                          gsize n_members, GError **error);

/* The checks of snap_set_delete() without the deletion. */
gboolean snap_set_check_delete (SnapState *state, const SnapSetMember *members,
                                gsize n_members, GError **error);

/* A command after a cut of which nobody knows that it was run to its end,
   because its maker was killed. */
typedef struct {
  char *set_id, *name;
  char *command;
} SnapSetOwed;

/* What recovery has found. */
typedef struct {
  guint n_finished; /* entries of makers, and things that readers had left */
  GPtrArray *owed;  /* SnapSetOwed; NULL until there is one */
} SnapSetFound;

void snap_set_found_clear (SnapSetFound *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (SnapSetFound, snap_set_found_clear)

/*
 * Finish the work of makers that are gone, and undo what readers that are gone
 * have left.  @found, all zeroes before, is filled in also on error; the caller
 * clears it.  What a user's command would do is not done: it is told of.
 *
 * Errors: PARTIAL if some entry could not be finished; the others are.
 */
gboolean snap_set_recover (SnapState *state, SnapRegistry *registry,
                           SnapSetFound *found, GError **error);

/*
 * The first step of recovery alone, for all entries whose makers are gone: see
 * to it that no guest stands still.  *n_released counts the entries that named
 * one.
 *
 * Errors: FROZEN for the first that may still stand still; the others run.
 */
gboolean snap_set_thaw (SnapState *state, guint *n_released, GError **error);

/*
 * Drop what the journal says of an unfinished set or deletion, because its
 * storage will not come back.  Touches no storage.
 *
 * Errors: NOT_FOUND (there is no such entry, or its maker lives), IO.
 */
gboolean snap_set_forget (SnapState *state, const char *set_id, GError **error);

#endif
