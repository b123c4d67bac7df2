/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process at the other end of a Unix socket, and the files it has open:
 * what a name that it tells us names for it.
 */
#ifndef SNAP_OS_PEER_H
#define SNAP_OS_PEER_H

#include <glib.h>

/*
 * The absolute path here of the file that a process, or the peer of
 * @socket_fd, calls @filename and has open; the caller frees.
 *
 * Errors: NOT_FOUND (there is none here, or it is not the one that the peer
 * has open: another mount namespace, or replaced since), UNSUPPORTED (we may
 * not look).
 */
char *snap_process_find_file (int pid, const char *filename, GError **error);
char *snap_peer_find_file (int socket_fd, const char *filename, GError **error);

#endif
