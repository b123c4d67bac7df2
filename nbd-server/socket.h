/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The socket below a stream, in the clear or not.
 *
 * It never blocks: whoever finds nothing to read, or no room, waits here.  A
 * thread that blocks in the call itself is woken by whatever happens to the
 * socket, a writer by each request that comes in.
 */
#ifndef NBD_SERVER_SOCKET_H
#define NBD_SERVER_SOCKET_H

#include <glib.h>

/* A bound socket: what those that come from it cannot be told later. */
void snap_nbd_socket_prepare_listening (int fd);

/* Make a connected socket ready for a stream. */
void snap_nbd_socket_prepare (int fd);

/* How long a read waits for the first byte, and a write for room; 0 is
   forever. */
void snap_nbd_socket_set_timeout (int fd, guint read_ms, guint write_ms);

typedef enum {
  SNAP_NBD_SOCKET_READ,
  SNAP_NBD_SOCKET_WRITE,
} SnapNbdSocketUse;

/* Wait until it can be used that way, or is at its end.  Errors: BUSY (not in
   time). */
gboolean snap_nbd_socket_wait (int fd, SnapNbdSocketUse use, GError **error);

/* Let reads see the end as soon as what has come is read.  Any thread. */
void snap_nbd_socket_end_input (int fd);

/* Let the peer see the end once it has taken what was written. */
void snap_nbd_socket_end_output (int fd);

/* After that: whether the peer has taken everything, or is gone.  What was
   written from a file is that file's pages until then. */
gboolean snap_nbd_socket_is_taken (int fd);

/* Let everything that waits fail.  Any thread. */
void snap_nbd_socket_break (int fd);

#endif
