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

  /* The same without waiting: -1 if nothing is there, or it fails, which the
     next read tells. */
  gssize (*read_now) (SnapNbdStream *self, void *buffer, gsize length);

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

#endif
