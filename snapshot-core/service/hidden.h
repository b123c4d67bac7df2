/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the journal hides from a listing: points of sets that are not complete
 * yet, and points whose deletion is decided.
 *
 * Read it after the storage was listed: a set that is unfinished in the
 * listing is then in the journal still, or complete.
 */
#ifndef SNAP_SERVICE_HIDDEN_H
#define SNAP_SERVICE_HIDDEN_H

#include "snapshot-core/service/state.h"

typedef struct _SnapHidden SnapHidden;

/* Without a state directory nothing is hidden.  Errors: IO. */
SnapHidden *snap_hidden_read (SnapState *state, GError **error);
void snap_hidden_free (SnapHidden *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapHidden, snap_hidden_free)

gboolean snap_hidden_has (SnapHidden *self, const SnapVolume *volume,
                          const SnapPoint *point);

#endif
