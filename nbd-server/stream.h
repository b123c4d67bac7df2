/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes to and from a peer, in the clear or not.
 *
 * One thread reads; another, or several that take turns, write at the same
 * time.
 */
#ifndef NBD_SERVER_STREAM_H
#define NBD_SERVER_STREAM_H

#include <glib.h>
#include <sys/uio.h>

typedef struct _SnapNbdStream SnapNbdStream;

typedef struct {
  /* Read at least one byte: how many, 0 at the end, -1 with an error.
     BUSY: nothing came for as long as set_timeout said. */
  gssize (*read) (SnapNbdStream *self, void *buffer, gsize length,
                  GError **error);

  /* Write all of it; @parts is changed.  With @more, the rest of a message
     follows at once. */
  gboolean (*write) (SnapNbdStream *self, struct iovec *parts, int n_parts,
                     gboolean more, GError **error);

  /* Optional: write a part of a file without reading it. */
  gboolean (*send_file) (SnapNbdStream *self, int fd, guint64 offset,
                         guint64 length, GError **error);

  void (*close) (SnapNbdStream *self);
} SnapNbdStreamOps;

/* Embedded first in a kind's own struct. */
struct _SnapNbdStream {
  const SnapNbdStreamOps *ops;
  int fd; /* the socket below */
};

/* Take over a connected socket, in the clear. */
SnapNbdStream *snap_nbd_stream_new (int fd);
void snap_nbd_stream_close (SnapNbdStream *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdStream, snap_nbd_stream_close)

/* Free a stream in the clear, but leave its socket to another. */
void snap_nbd_stream_forget (SnapNbdStream *self);

gboolean snap_nbd_stream_write (SnapNbdStream *self, const void *data,
                                gsize length, GError **error);

/* ---- the socket below, whatever is above it ---- */

/* How long a read waits for the first byte, and a write for room; 0 is
   forever. */
void snap_nbd_socket_set_timeout (int fd, guint read_ms, guint write_ms);

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
