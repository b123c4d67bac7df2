/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS below the protocol, 1.2 and 1.3, by X.509 certificates or by keys that
 * both sides know.  The one door to OpenSSL's.
 */
#ifndef NBD_SERVER_TLS_H
#define NBD_SERVER_TLS_H

#include "nbd-server/security.h"
#include "nbd-server/stream.h"

typedef struct _SnapNbdTlsContext SnapNbdTlsContext;

/* Errors: USAGE (no keys), NOT_FOUND, CORRUPT (what is no key), IO. */
SnapNbdTlsContext *snap_nbd_tls_context_new (const SnapNbdTlsKeys *keys,
                                             GError **error);
void snap_nbd_tls_context_free (SnapNbdTlsContext *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdTlsContext, snap_nbd_tls_context_free)

/* The name of the one client that has a key, NULL if there are more or none;
   borrowed. */
const char *snap_nbd_tls_context_client (const SnapNbdTlsContext *self);

/*
 * The handshake of TLS on @plain, which the new stream takes over.  NULL with
 * an error if it fails; @plain stays as it is, and is of no more use.
 * @context is a SnapNbdTlsContext, which outlives the stream.
 *
 * Its reads and writes wait no longer than the socket's timeouts say.
 */
SnapNbdStream *snap_nbd_tls_secure (SnapNbdStream *plain, gpointer context,
                                    GError **error);

#endif
