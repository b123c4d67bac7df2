/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Read from an NBD export of another program over several connections: the
 * one place that sees libnbd.
 *
 * Threads: reads may be called from many threads; each uses a free
 * connection and waits for one if there is none.
 */
#ifndef SNAP_OS_NBD_SOURCE_H
#define SNAP_OS_NBD_SOURCE_H

#include <glib.h>

typedef struct _SnapNbdSource SnapNbdSource;

/*
 * Start a server program that inherits a listening Unix socket (socket
 * activation: descriptor 3) and connect to it @n_connections times.
 *
 * The socket lies in a private directory that is gone when this returns.  A
 * server that ends with its last connection, as qemu-nbd without -t does,
 * never outlives this process.  @fds, passed as 4 and up, are borrowed.
 *
 * @name is for messages.  Errors: UNSUPPORTED (no such program), IO (the
 * server ended: the message carries what it printed).
 */
SnapNbdSource *snap_nbd_source_spawn (const char *const *argv, const int *fds,
                                      gsize n_fds, const char *export_name,
                                      guint n_connections, const char *name,
                                      GError **error);

/* The size of the export, bytes. */
guint64 snap_nbd_source_size (SnapNbdSource *self);

/* Read exactly this range.  IO when the server fails the read or is gone. */
gboolean snap_nbd_source_read (SnapNbdSource *self, guint64 offset,
                               void *buffer, gsize length, GError **error);

/* How long the server may be silent over a read before it is ended and the
   read fails; 60 s unless told otherwise.  Before the first read. */
void snap_nbd_source_set_patience (SnapNbdSource *self, guint patience_ms);

/* The server's pid, for tests and messages. */
int snap_nbd_source_pid (SnapNbdSource *self);

/* Disconnect, end the server and reap it. */
void snap_nbd_source_close (SnapNbdSource *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdSource, snap_nbd_source_close)

#endif
