/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A consumer's word about a set: its copy succeeded, or failed.
 */
#ifndef SNAP_SERVICE_ACKNOWLEDGE_H
#define SNAP_SERVICE_ACKNOWLEDGE_H

#include "snapshot-core/service/registry.h"
#include "snapshot-core/service/state.h"

typedef enum {
  SNAP_ACK_SUCCEEDED, /* the set becomes its consumer's base */
  SNAP_ACK_FAILED,    /* the base stays what it was */
} SnapAck;

/*
 * Tell every volume of the set @name (or with that id).  Where snapshots cost
 * nothing they stay, and *n_told does not count them; where they do, see the
 * driver's acknowledge().  Idempotent.
 *
 * Errors: NOT_FOUND (no such set), USAGE (several), BUSY (a snapshot of it is
 * in use), IO; the other volumes were told all the same.
 */
gboolean snap_set_acknowledge (SnapState *state, SnapRegistry *registry,
                               const char *name, SnapAck ack, guint *n_told,
                               GError **error);

#endif
