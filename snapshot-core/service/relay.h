/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The owner's side of nbdsnap-relay, the process through which a domain of
 * libvirt's is spoken to as a guest with sockets is; see guard/relay.h.
 */
#ifndef SNAP_SERVICE_RELAY_H
#define SNAP_SERVICE_RELAY_H

#include <glib.h>

typedef struct _SnapRelay SnapRelay;

/* What stands for the path of a monitor and of an agent, also in a journal
   entry; @uri NULL for libvirt's default.  The caller frees. */
char *snap_relay_address (const char *uri, const char *domain);
gboolean snap_relay_is_address (const char *text);

/*
 * Start a relay to the domain that an address names.
 *
 * Errors: NOT_FOUND (no such domain, or it does not run), UNSUPPORTED (no relay
 * or no libvirt here), IO (libvirt's reason).
 */
SnapRelay *snap_relay_start (const char *address, GError **error);

/* When all copies of its connections are closed, the relay undoes what it has
   done, and ends: await that for a while.  It is not ended. */
void snap_relay_free (SnapRelay *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapRelay, snap_relay_free)

/* A connection, once; the caller closes it. */
int snap_relay_take_monitor (SnapRelay *self);
int snap_relay_take_agent (SnapRelay *self);

/* Add the relay's own ends, borrowed: whoever keeps them open takes a relay that
   was killed for one that is silent, not for a guest that is gone. */
void snap_relay_add_far_ends (const SnapRelay *self, GArray *fds);

/* QEMU's process; 0 if it is not seen here. */
int snap_relay_qemu_pid (const SnapRelay *self);

#endif
