/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets that clients connect to, and the addresses to print for them.
 */
#ifndef NBD_SERVER_LISTENER_H
#define NBD_SERVER_LISTENER_H

#include <glib.h>

/* One address: a host name may stand for several sockets. */
typedef struct _SnapNbdListener SnapNbdListener;

/*
 * Listen on "unix:PATH" or "tcp:HOST:PORT"; an empty HOST is every address of
 * this machine, port 0 one that is free.
 *
 * Errors: USAGE (no such address), BUSY (somebody listens there), IO.
 */
SnapNbdListener *snap_nbd_listener_open (const char *address, GError **error);

/* Take over a socket that listens already.  Errors: USAGE (it does not). */
SnapNbdListener *snap_nbd_listener_adopt (int fd, GError **error);

/* Also removes the Unix socket, if it is still the one that was made. */
void snap_nbd_listener_close (SnapNbdListener *self);

/* Close the sockets, but leave the rest to a later close. */
void snap_nbd_listener_let_go (SnapNbdListener *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdListener, snap_nbd_listener_close)

guint snap_nbd_listener_n_sockets (const SnapNbdListener *self);
int snap_nbd_listener_socket (const SnapNbdListener *self, guint index);

/* What an address says for TLS; both may be NULL. */
typedef struct {
  const char *client; /* the name that goes with a key */
  const char *psk_file;
} SnapNbdUriTls;

/* The address of export @name here, with TLS unless that is NULL; the caller
   frees.  After doc/uri.md of the NBD project. */
char *snap_nbd_listener_uri (const SnapNbdListener *self, const char *name,
                             const SnapNbdUriTls *tls);

#endif
