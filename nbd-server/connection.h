/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One client, from its first byte to its last.
 */
#ifndef NBD_SERVER_CONNECTION_H
#define NBD_SERVER_CONNECTION_H

#include "nbd-server/counters.h"
#include "nbd-server/handshake.h"
#include "nbd-server/server.h"
#include "nbd-server/stream.h"

/* What all connections of a server have in common. */
typedef struct {
  SnapExports *exports;
  SnapNbdServerOptions options; /* without zeroes that mean defaults */
  SnapNbdTls tls;

  /* Put TLS on a stream, which the new one takes over; NULL with an error,
     and the old one stays as it is.  Not called with SNAP_NBD_TLS_OFF. */
  SnapNbdStream *(*secure) (SnapNbdStream *plain, gpointer secure_data,
                            GError **error);
  gpointer secure_data;

  SnapNbdCounters counters;
} SnapNbdTerms;

typedef struct _SnapNbdConnection SnapNbdConnection;

/* Take over a connected socket.  @terms outlive it. */
SnapNbdConnection *snap_nbd_connection_new (int fd, SnapNbdTerms *terms);

/* Only after run has returned. */
void snap_nbd_connection_free (SnapNbdConnection *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdConnection, snap_nbd_connection_free)

/* Serve until the client goes, or is sent away. */
void snap_nbd_connection_run (SnapNbdConnection *self);

/* Let it end once all that was asked is answered.  Any thread. */
void snap_nbd_connection_stop (SnapNbdConnection *self);

/* Let it end now.  Any thread. */
void snap_nbd_connection_break (SnapNbdConnection *self);

#endif
