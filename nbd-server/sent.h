/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parts of files that went out over one connection: their pages are dropped
 * again some way behind, when the socket no longer refers to them.
 */
#ifndef NBD_SERVER_SENT_H
#define NBD_SERVER_SENT_H

#include "snapshot-core/service/export.h"

typedef struct {
  SnapExport *export; /* borrowed */
  GQueue ranges;      /* SnapFileRange */
  guint64 length;     /* of all of them, bytes */
} SnapNbdSent;

void snap_nbd_sent_init (SnapNbdSent *self, SnapExport *export);

/* Drops the rest. */
void snap_nbd_sent_clear (SnapNbdSent *self);

void snap_nbd_sent_add (SnapNbdSent *self, const SnapFileRange *range);

#endif
