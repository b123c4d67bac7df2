/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of the QEMU guest agent on its Unix socket.
 *
 * The agent has no greeting and no ids, one command runs at a time, and what a
 * dead client has asked is answered to the next.  So every conversation begins
 * with a sync, and after a command without an answer in time the stream is
 * poisoned until the next sync has come back.  A second client is let in and
 * its commands run when the first one leaves: be alone.
 *
 * What was sent and not answered may still be run by the guest later.
 *
 * Threads: an agent belongs to one thread at a time.  Time in milliseconds.
 */
#ifndef QMP_AGENT_H
#define QMP_AGENT_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "qmp/error.h"

typedef struct _QmpAgent QmpAgent;

/* How long a healthy agent may take to answer a sync. */
#define QMP_AGENT_SYNC_MS 5000

/* Connect; says nothing yet.  Errors: GONE, BUSY (too many wait for it),
   PROTOCOL (not allowed, or no socket). */
QmpAgent *qmp_agent_connect (const char *path, GError **error);

/*
 * Take over a connection: @fd, which is closed with the agent.  Never fails: a
 * broken one shows at the first sync.
 */
QmpAgent *qmp_agent_adopt (int fd);
void qmp_agent_close (QmpAgent *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpAgent, qmp_agent_close)

int qmp_agent_fd (QmpAgent *self); /* borrowed */

/* Sync before the next command: somebody else has used a copy of the socket. */
void qmp_agent_resume (QmpAgent *self);

/* Cancelling, by any thread, makes what runs and what comes later fail with
   CANCELLED; NULL for none.  A reference is taken. */
void qmp_agent_set_cancellable (QmpAgent *self, GCancellable *cancellable);

/* See to it that the next answer is ours.  Errors: TIMEOUT (absent, hung, or
   its guest stands still), GONE, PROTOCOL (a line without end), CANCELLED. */
gboolean qmp_agent_sync (QmpAgent *self, guint timeout_ms, GError **error);

/*
 * Execute one command, after a sync if one is due; the time is for both.
 * Returns the value of "return"; json_node_unref().  Takes @arguments, which
 * may be NULL.
 *
 * Errors: TIMEOUT, GONE, PROTOCOL, COMMAND, NO_COMMAND (also: not allowed
 * while frozen), CANCELLED.
 */
JsonNode *qmp_agent_execute (QmpAgent *self, const char *command,
                             JsonObject *arguments, guint timeout_ms,
                             GError **error);

#endif
