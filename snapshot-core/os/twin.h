/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second process of the same program: forked, with a copy of all memory and
 * all descriptors, and a socket between the two.
 *
 * For what takes privileges that the first one is about to give up.
 */
#ifndef SNAP_OS_TWIN_H
#define SNAP_OS_TWIN_H

#include <glib.h>

typedef struct _SnapTwin SnapTwin;

/* The whole life of the second process; @socket has an end when the first one
   is gone, however it went. */
typedef void (*SnapTwinFunc) (int socket, gpointer user_data);

/*
 * Start it, called @name by ps(1).  Only while the process has one thread.
 * Signals that end a service do not end it.
 *
 * Errors: IO.
 */
SnapTwin *snap_twin_start (const char *name, SnapTwinFunc func,
                           gpointer user_data, GError **error);

/* Let it see the end, and wait until it has ended. */
void snap_twin_end (SnapTwin *self);

/*
 * Send a message, and a descriptor that it gets a copy of.  Any thread.
 *
 * Errors: IO (it has ended).
 */
gboolean snap_twin_send (SnapTwin *self, const void *message, gsize length,
                         int fd, GError **error);

/* ---- in the second process ---- */

/* Take a message and the descriptor that came with it, which the caller
   closes: the length, 0 at the end. */
gsize snap_twin_receive (int socket, void *message, gsize length, int *fd);

#endif
