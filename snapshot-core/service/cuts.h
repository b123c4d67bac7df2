/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cuts of one set, driven together through the phases of creation.
 *
 * Knows drivers, not the journal: the caller has the records on disk between
 * snap_cuts_plan() and snap_cuts_prepare(), and decides the set between
 * snap_cuts_cut() and snap_cuts_commit().
 */
#ifndef SNAP_SERVICE_CUTS_H
#define SNAP_SERVICE_CUTS_H

#include <gio/gio.h>

#include "snapshot-core/drivers/driver.h"
#include "snapshot-core/format/manifest.h"
#include "snapshot-core/service/guest.h"

typedef struct _SnapCuts SnapCuts;

/*
 * Plan a cut of every volume (borrowed) and add each with its record to
 * @entry.  @guest, borrowed, is the guest that is kept quiet meanwhile, or
 * NULL.  Changes nothing, also when it fails.
 */
SnapCuts *snap_cuts_plan (SnapVolume **volumes, gsize n_volumes,
                          SnapGuest *guest, const char *name,
                          SnapManifest *entry, GError **error);
void snap_cuts_free (SnapCuts *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapCuts, snap_cuts_free)

/* Whether all volumes will be cut at one instant. */
gboolean snap_cuts_are_atomic (const SnapCuts *self);

/* All that is slow.  On error, or when cancelled (CANCELLED), the caller
   aborts, also in the next steps. */
gboolean snap_cuts_prepare (SnapCuts *self, GCancellable *cancellable,
                            GError **error);

/*
 * Have a guard stand by if devices are to be suspended or a guest to be kept
 * quiet; the cut should follow soon, since what it is about is looked at here.
 *
 * The guard keeps @locks, an array of descriptors, and writes down in the file
 * @notes_fd what it does to the guest (snap_guard_read_notes()); -1 without a
 * guest.
 */
gboolean snap_cuts_stand_by (SnapCuts *self, const GArray *locks, int notes_fd,
                             GError **error);

/*
 * The instant: the guest is quieted, then driver by driver, the slow ones
 * first, then what the guard does, then the guest is let go, also when a cut
 * fails.  times->window_us is the time from the start to the end of all.
 *
 * Errors: FROZEN (something may still stand still), or a driver's.
 */
gboolean snap_cuts_cut (SnapCuts *self, GCancellable *cancellable,
                        SnapGuardTimes *times, GError **error);

/* Try every cut, whatever happens to one; the error is the first one's. */
gboolean snap_cuts_commit (SnapCuts *self, GError **error);
gboolean snap_cuts_abort (SnapCuts *self, GError **error);

/* CANCELLED if it was cancelled; @cancellable may be NULL. */
gboolean snap_cuts_check_cancelled (GCancellable *cancellable, GError **error);

#endif
