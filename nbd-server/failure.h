/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an error looks to a client: a number of the protocol and a general
 * text.  Our own messages name paths, which are none of its business.
 */
#ifndef NBD_SERVER_FAILURE_H
#define NBD_SERVER_FAILURE_H

#include "nbd-server/protocol.h"

SnapNbdError snap_nbd_failure_code (const GError *error);
const char *snap_nbd_failure_text (const GError *error);

#endif
