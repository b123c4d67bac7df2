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

/* A server that has to be told what to serve, and does not end by itself. */
typedef struct {
  const char *const *argv; /* its descriptor 3 is the listening socket */
  const int *fds;          /* borrowed, passed as 4 and up */
  gsize n_fds;
  /* Called when it was started: tell it. */
  gboolean (*instruct) (gpointer user_data, GError **error);
  gpointer user_data;
  const char *export_name;
  const char *const *contexts; /* NULL-terminated, those that are asked about */
  guint n_connections;
} SnapNbdServer;

/*
 * The same for such a server.  It is ended with the source, and with this
 * process.  Errors: as above, NOT_FOUND (a context is not offered), and what
 * instruct() returns.
 */
SnapNbdSource *snap_nbd_source_start (const SnapNbdServer *server,
                                      const char *name, GError **error);

/*
 * Connect @n_connections times to the Unix socket at @path, where @program
 * serves already; the path may be long.  @contexts, NULL-terminated, are those
 * that are asked about later.  Where there is one, a server may leave out of a
 * read what its context base:allocation takes for zeroes; without any, it sends
 * what it has read.
 *
 * Errors: UNSUPPORTED (no libnbd), NOT_FOUND (no such socket; a context is not
 * offered), IO (nobody listens; no such export).
 */
SnapNbdSource *snap_nbd_source_connect (const char *path, const char *program,
                                        const char *export_name,
                                        const char *const *contexts,
                                        guint n_connections, const char *name,
                                        GError **error);

/* The size of the export, bytes. */
guint64 snap_nbd_source_size (SnapNbdSource *self);

/* Read exactly this range.  IO when the server fails the read or is gone. */
gboolean snap_nbd_source_read (SnapNbdSource *self, guint64 offset,
                               void *buffer, gsize length, GError **error);

/* Make exactly this range read as zeroes.  IO as above. */
gboolean snap_nbd_source_zero (SnapNbdSource *self, guint64 offset,
                               guint64 length, GError **error);

/* The context that every server offers, and its flags. */
#define SNAP_NBD_ALLOCATION "base:allocation"
#define SNAP_NBD_HOLE 1
#define SNAP_NBD_ZERO 2

/* What a context says of a range: its flags, as the context defines them. */
typedef gboolean (*SnapNbdStatusFunc) (guint64 offset, guint64 length,
                                       guint32 flags, gpointer user_data,
                                       GError **error);

/* Report a range of one of the contexts that were connected with, gapless and
   in order; stops when @emit fails.  IO as above. */
gboolean snap_nbd_source_status (SnapNbdSource *self, const char *context,
                                 guint64 offset, guint64 length,
                                 SnapNbdStatusFunc emit, gpointer user_data,
                                 GError **error);

/* How long the server may be silent over a request before it is ended, or
   left where it is not ours, and the request fails; 60 s unless told otherwise.  Before the first read. */
void snap_nbd_source_set_patience (SnapNbdSource *self, guint patience_ms);

/* The pid of a server that was started, for tests and messages. */
int snap_nbd_source_pid (SnapNbdSource *self);

/* Disconnect; end a server that was started, and reap it. */
void snap_nbd_source_close (SnapNbdSource *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdSource, snap_nbd_source_close)

#endif
