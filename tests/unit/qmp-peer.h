/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other end of a connection in tests of qmp/: a script that runs in a
 * thread and says exactly what it is told to.
 */
#ifndef TESTS_UNIT_QMP_PEER_H
#define TESTS_UNIT_QMP_PEER_H

#include <glib.h>

typedef struct _QmpPeer QmpPeer;
typedef void (*QmpScript) (QmpPeer *peer);

/* For what must not happen, and for what must. */
#define SHORT_MS 100
#define LONG_MS 60000

/* Over a pair of sockets: *fd is the tested end.  When the script ends, its
   end is closed. */
QmpPeer *qmp_peer_start (QmpScript script, int *fd);

/* Behind a socket with a name, for one connection. */
QmpPeer *qmp_peer_listen (QmpScript script);
const char *qmp_peer_path (QmpPeer *self);

/* Wait for the script's end. */
void qmp_peer_join (QmpPeer *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpPeer, qmp_peer_join)

/* ---- for scripts ---- */

void qmp_peer_say (QmpPeer *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
void qmp_peer_say_bytes (QmpPeer *self, const char *bytes, gsize length);

/* The next line, which the peer keeps until the next. */
const char *qmp_peer_hear (QmpPeer *self);

/* The next line is this command; says its id, or NULL. */
const char *qmp_peer_hear_command (QmpPeer *self, const char *command);

/* The next command is this, and is answered with @value. */
void qmp_peer_serve (QmpPeer *self, const char *command, const char *value);

/* The greeting of QEMU 7.2.22, and its end of the negotiation. */
void qmp_peer_greet (QmpPeer *self);

/* An answer to a sync of the agent's. */
void qmp_peer_sync (QmpPeer *self);

/* The next command of an agent, in the order of one that is in sync. */
void qmp_peer_serve_agent (QmpPeer *self, const char *command,
                           const char *answer);

/* Until the other end has closed. */
void qmp_peer_await_end (QmpPeer *self);

/* The descriptor that came with what was heard, or -1. */
int qmp_peer_take_fd (QmpPeer *self);

#endif
