/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines over a Unix stream socket, with descriptors beside them: what is below
 * the clients of the monitor and of the agent.  Knows no JSON.
 *
 * Everything happens in a main context of the channel's own, while somebody
 * runs it, and without another thread.  From when it is made until it is
 * freed it opens no file and resolves no name: it is used where that could
 * wait for a frozen file system.
 *
 * Threads: one at a time.
 */
#ifndef QMP_CHANNEL_H
#define QMP_CHANNEL_H

#include <gio/gio.h>

#include "qmp/error.h"

typedef struct _QmpChannel QmpChannel;

/* Connect to the socket at @path until @deadline_us of the monotonic clock.
   Returns the descriptor, or -1.  Errors: BUSY (those who wait for it are too
   many), GONE, PROTOCOL (not allowed, or no socket), CANCELLED. */
int qmp_channel_connect (const char *path, gint64 deadline_us,
                         GCancellable *cancellable, GError **error);

/* Takes @fd, a connected socket, which is closed with the channel.  @name is
   what errors call the peer: "the monitor". */
QmpChannel *qmp_channel_new (int fd, const char *name);
void qmp_channel_free (QmpChannel *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpChannel, qmp_channel_free)

int qmp_channel_fd (QmpChannel *self);
GMainContext *qmp_channel_context (QmpChannel *self);

/* A longer line breaks the channel; QMP_MAX_MESSAGE unless set. */
void qmp_channel_set_max_line (QmpChannel *self, gsize max_line);

/* Cancelling makes runs and sends fail with CANCELLED; NULL for none. */
void qmp_channel_set_cancellable (QmpChannel *self, GCancellable *cancellable);

/* How a channel tells its owner.  Both run from the channel's main context or
   a call to it, and must neither free the channel nor run it. */
typedef struct {
  /* Each line that comes, without its newline, not terminated. */
  void (*line) (const char *line, gsize length, gpointer user_data);
  /* Once, when nothing will come any more; may be NULL. */
  void (*broken) (const GError *reason, gpointer user_data);
} QmpChannelFuncs;

void qmp_channel_set_funcs (QmpChannel *self, const QmpChannelFuncs *funcs,
                            gpointer user_data);

/* Throw away what has come and is not read; FALSE if there was nothing. */
gboolean qmp_channel_drain (QmpChannel *self);

/* Send @text, what does not go at once later, with @fds beside its first byte.
   Errors: CANCELLED, PROTOCOL, and what the channel is broken by. */
gboolean qmp_channel_send (QmpChannel *self, const char *text, const int *fds,
                           guint n_fds, GError **error);

/* Give up: the peer has broken the rules. */
void qmp_channel_break (QmpChannel *self, GError *reason);

/* Why nothing will come any more, or NULL.  Borrowed. */
const GError *qmp_channel_broken (QmpChannel *self);

/* Whether the peer has closed the connection.  Asks nothing of it. */
gboolean qmp_channel_is_gone (QmpChannel *self);

/*
 * Run until something has happened, so that the caller can see whether it is
 * what it waits for.  Errors: TIMEOUT at @deadline_us, CANCELLED, and what the
 * channel is broken by.
 */
gboolean qmp_channel_run (QmpChannel *self, gint64 deadline_us, GError **error);

#endif
