/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An offer for tests of the handshake: "disk", which is also "", with the bases
 * "old" and "older", and "plain" without any.
 */
#ifndef TESTS_UNIT_NBD_OFFER_H
#define TESTS_UNIT_NBD_OFFER_H

#include "nbd-server/handshake.h"

#define NBD_OFFER_SIZE 1048576

/* What the offer's data points to. */
typedef struct {
  int n_open; /* exports that were opened and not closed */
} NbdOfferUse;

extern const SnapNbdOffer nbd_offer;

#endif
