/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the manifests of a state directory tell: which volumes have sets, and
 * how each set was cut.  Reads only.
 *
 * The storage is the truth about which snapshots exist; this is where to ask.
 */
#ifndef SNAP_SERVICE_CATALOGUE_H
#define SNAP_SERVICE_CATALOGUE_H

#include "snapshot-core/service/set.h"

/*
 * Collect the references of all volumes that a manifest names, sorted, each
 * once; char * freed by the array.  A manifest that cannot be read as one is
 * passed over.
 *
 * Errors: IO.  Without a state directory there are none.
 */
GPtrArray *snap_catalogue_volumes (SnapState *state, GError **error);

typedef struct {
  SnapSetConsistency consistency;
  guint64 window_us;
  guint n_volumes; /* that still have their snapshot of it */
  gboolean has_guest;
  SnapQuiesce quiesce; /* how its guest was kept quiet, and how long */
  guint64 stopped_us, frozen_us;
} SnapCatalogueSet;

/*
 * The id of the set that is called @name, or has it as its id; the caller
 * frees.  Errors: NOT_FOUND, USAGE (several have this name: the message lists
 * their ids), IO.
 */
char *snap_catalogue_find_set (SnapState *state, const char *name,
                               GError **error);

/* The volumes of a set, as references; SnapReference freed by the array.
   Errors: NOT_FOUND, UNSUPPORTED (a driver that is not there), CORRUPT, IO. */
GPtrArray *snap_catalogue_read_members (SnapState *state,
                                        SnapRegistry *registry,
                                        const char *set_id, GError **error);

/*
 * Read how a set was cut.  *found is FALSE when there is no manifest of it,
 * as for a snapshot that was made on another host.
 *
 * Errors: CORRUPT, IO.
 */
gboolean snap_catalogue_read_set (SnapState *state, const char *set_id,
                                  SnapCatalogueSet *set, gboolean *found,
                                  GError **error);

#endif
