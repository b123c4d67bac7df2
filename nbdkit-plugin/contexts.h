/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The native server inside of nbdkit, for the contexts that nbdkit itself
 * cannot offer: on a Unix socket of its own, beside nbdkit's TLS and filters.
 */
#ifndef NBDKIT_PLUGIN_CONTEXTS_H
#define NBDKIT_PLUGIN_CONTEXTS_H

#include "nbd-server/server.h"

/*
 * Listen on the socket at @path, and hold what can be compared, with the
 * privileges that nbdkit was started with.  Whoever comes waits for the start,
 * which is for after the fork.  @exports outlive it.
 *
 * Errors: USAGE (no such path), BUSY (somebody listens there), IO.
 */
SnapNbdServer *plugin_contexts_open (SnapExports *exports, const char *path,
                                     GError **error);

/* Finish what was asked, and end; NULL is nothing to end. */
void plugin_contexts_close (SnapNbdServer *server);

#endif
