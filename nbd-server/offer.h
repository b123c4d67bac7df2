/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exports as the handshake wants them.
 */
#ifndef NBD_SERVER_OFFER_H
#define NBD_SERVER_OFFER_H

#include "nbd-server/handshake.h"
#include "snapshot-core/service/export.h"

/* What one client is negotiating about. */
typedef struct {
  SnapExports *exports;
  SnapExport *kept; /* closed last; its image stays open for the next option */
} SnapNbdClient;

void snap_nbd_client_clear (SnapNbdClient *self);

/* Takes a SnapNbdClient for its data; its exports are SnapExport. */
extern const SnapNbdOffer snap_nbd_exports_offer;

#endif
