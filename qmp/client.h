/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of QEMU's monitor on a Unix socket, or of qemu-storage-daemon's.
 *
 * One client a monitor: QEMU accepts a second one and never greets it.  The
 * core is asynchronous, in a main context of the client's own; the plain calls
 * run that context until they have their answer or no time is left.
 *
 * Answers are told by ids of ours, random for each client, so that a client
 * can take over a connection from one that died in the middle of a command.
 * Events come before, between and after answers; they are kept until somebody
 * waits for one.
 *
 * Threads: a client belongs to one thread at a time.
 *
 * Time is in milliseconds.  After a TIMEOUT the connection is still good; the
 * late answer is dropped.  After GONE or PROTOCOL every call fails the same
 * way.
 *
 * Once it is made, a client opens no file, resolves no name and, as long as
 * only plain calls are used, starts no thread: it is used where memory is
 * locked and file systems are frozen.  After fork() a process makes a client
 * of its own, over a copy of the socket.
 */
#ifndef QMP_CLIENT_H
#define QMP_CLIENT_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "qmp/error.h"

typedef struct _QmpClient QmpClient;

/* How long a greeting may take before the monitor counts as somebody else's,
   and a plain command before it counts as lost. */
#define QMP_GREETING_MS 3000
#define QMP_COMMAND_MS 10000

/* The most events that are kept, and their bytes; the oldest go first. */
#define QMP_MAX_EVENTS 1024
#define QMP_MAX_EVENT_BYTES (16 * 1024 * 1024)

/*
 * Connect, await the greeting, and negotiate.  @cancellable may be NULL, here
 * and below.  Errors: BUSY (no greeting), GONE, PROTOCOL, TIMEOUT (greeted and then
 * silent), CANCELLED.
 */
QmpClient *qmp_client_connect (const char *path, guint greeting_ms,
                               GCancellable *cancellable, GError **error);

/* The same over @fd, a socket that is connected to a monitor; it is closed with
   the client, or on error. */
QmpClient *qmp_client_take (int fd, guint greeting_ms,
                            GCancellable *cancellable, GError **error);

/*
 * Take over a connection that was negotiated: @fd, which is closed with the
 * client.  What the last user of it has not read is skipped, the rest of a
 * line included; half a command that it has sent is made void.  Never fails: a
 * broken one shows at the first command.
 */
QmpClient *qmp_client_adopt (int fd);
void qmp_client_close (QmpClient *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpClient, qmp_client_close)

/* The socket, borrowed: for handing on a copy of it.  Whoever has it next must
   be alone with it. */
int qmp_client_fd (QmpClient *self);

/* Go on after somebody else has used a copy of the socket, as if it were
   adopted. */
void qmp_client_resume (QmpClient *self);

/* Whether the peer has closed the connection; asks nothing of it. */
gboolean qmp_client_is_gone (QmpClient *self);

/* The longest message that is taken, in bytes; QMP_MAX_MESSAGE unless set. */
void qmp_client_set_max_message (QmpClient *self, gsize max_message);

/* The version that was greeted with, as 70222 for 7.2.22; 0 if adopted. */
guint qmp_client_version (QmpClient *self);

/*
 * Execute @command and return the value of its "return"; json_node_unref().
 * Takes @arguments, which may be NULL.  Errors: all.
 */
JsonNode *qmp_client_execute (QmpClient *self, const char *command,
                              JsonObject *arguments, guint timeout_ms,
                              GError **error);

/* The same with descriptors for the monitor (getfd, add-fd), borrowed. */
JsonNode *qmp_client_execute_with_fds (QmpClient *self, const char *command,
                                       JsonObject *arguments, const int *fds,
                                       guint n_fds, guint timeout_ms,
                                       GError **error);

/* The main context that a client's sources are in: for those who wait for what
   they have asked with qmp_client_execute_async().  Borrowed. */
GMainContext *qmp_client_context (QmpClient *self);

/* The same without waiting.  @callback runs when the main context does: while
   the caller iterates it, or in a plain call of the client.  It must not close
   the client. */
void qmp_client_execute_async (QmpClient *self, const char *command,
                               JsonObject *arguments, guint timeout_ms,
                               GCancellable *cancellable,
                               GAsyncReadyCallback callback,
                               gpointer user_data);
JsonNode *qmp_client_execute_finish (QmpClient *self, GAsyncResult *result,
                                     GError **error);

/* Cancelling, by any thread, makes plain calls that run, and later ones, fail
   with CANCELLED; NULL for none.  A reference is taken. */
void qmp_client_set_cancellable (QmpClient *self, GCancellable *cancellable);

/* Whether an event is the one that is waited for.  @data is its "data" or
   NULL. */
typedef gboolean (*QmpEventFunc) (const char *name, JsonObject *data,
                                  gpointer user_data);

/*
 * Wait for an event among those that came since the client was made or
 * qmp_client_forget_events(); it is taken out, with nothing else.  Returns its
 * "data" (json_object_unref(); an empty object if it has none).
 * Errors: TIMEOUT, GONE, PROTOCOL, CANCELLED.
 *
 * Events can be left out by QEMU (some come once a second at most): poll the
 * state too.
 */
JsonObject *qmp_client_wait (QmpClient *self, QmpEventFunc matches,
                             gpointer user_data, guint timeout_ms,
                             GError **error);
void qmp_client_forget_events (QmpClient *self);

#endif
