/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The native NBD server: exports with real dirty contexts.
 *
 * The one header of this room that front ends see.  Everything is served
 * read-only; no client reaches more than the exports it was given.
 */
#ifndef NBD_SERVER_SERVER_H
#define NBD_SERVER_SERVER_H

#include "nbd-server/security.h"
#include "snapshot-core/service/export.h"

/* Called with a line about what went wrong, from any thread. */
typedef void (*SnapNbdLogFunc) (const char *message, gpointer user_data);

/* Zero-filled means the defaults. */
typedef struct {
  guint max_connections;      /* 0: SNAP_NBD_DEFAULT_CONNECTIONS */
  guint handshake_timeout_ms; /* 0: SNAP_NBD_DEFAULT_HANDSHAKE_MS */
  guint idle_timeout_ms;      /* of a client that neither asks nor takes; 0:
                                 none */
  gboolean keep_pages;        /* in the page cache: what was not there before
                                 is otherwise dropped */
  SnapNbdLogFunc log;         /* or NULL */
  gpointer log_data;
} SnapNbdServerOptions;

#define SNAP_NBD_DEFAULT_CONNECTIONS 1024
#define SNAP_NBD_DEFAULT_HANDSHAKE_MS 30000

typedef struct _SnapNbdServer SnapNbdServer;

/* Holds what clients can compare.  @exports outlive it.  Errors: IO. */
SnapNbdServer *snap_nbd_server_new (SnapExports *exports,
                                    const SnapNbdServerOptions *options,
                                    GError **error);

/*
 * Offer TLS, or ask for it; without this there is none.  Before the start.
 *
 * Errors: USAGE (no keys), NOT_FOUND, CORRUPT (what is no key), IO.
 */
gboolean snap_nbd_server_secure (SnapNbdServer *self, SnapNbdTls tls,
                                 const SnapNbdTlsKeys *keys, GError **error);

/*
 * Listen on "unix:PATH" or "tcp:HOST:PORT"; whoever comes waits for the start.  A Unix
 * socket gets mode 0600; one that is there and nobody listens on is replaced.
 *
 * Errors: USAGE (no such address), BUSY (somebody listens there), IO.
 */
gboolean snap_nbd_server_listen (SnapNbdServer *self, const char *address,
                                 GError **error);

/* The same on a socket that listens already, and is taken over if it does.
   Errors: USAGE. */
gboolean snap_nbd_server_adopt (SnapNbdServer *self, int fd, GError **error);

guint snap_nbd_server_n_listeners (SnapNbdServer *self);

/* The address of export @name on listener @index, until the stop.  The caller
   frees. */
char *snap_nbd_server_uri (SnapNbdServer *self, guint index, const char *name);

/* Let clients in.  Starts a thread; once, and after the last listen. */
void snap_nbd_server_start (SnapNbdServer *self);

/*
 * Take no more connections and requests, finish what was asked, and end.
 * Comparisons that run are called off.  Whoever does not take its replies
 * within @grace_ms is cut off.
 */
void snap_nbd_server_stop (SnapNbdServer *self, guint grace_ms);

/* In a process that was forked before the start, and only cleans up: close the
   sockets.  The free will still remove their files. */
void snap_nbd_server_let_go (SnapNbdServer *self);

/* Stops first, if that was not done. */
void snap_nbd_server_free (SnapNbdServer *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdServer, snap_nbd_server_free)

/* What there is to tell at a moment; all but the first since the start.  Any
   thread may ask. */
typedef struct {
  guint n_connections;
  guint64 n_accepted, n_refused;
  guint64 n_secured; /* of those accepted, by TLS */
  guint64 n_reads, n_statuses, n_caches;
  guint64 n_failures; /* requests that were answered with an error */
  guint64 bytes_sent; /* of data */
} SnapNbdServerStatus;

SnapNbdServerStatus snap_nbd_server_status (SnapNbdServer *self);

#endif
