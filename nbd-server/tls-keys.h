/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to TLS: the file of keys that both sides know.
 */
#ifndef NBD_SERVER_TLS_KEYS_H
#define NBD_SERVER_TLS_KEYS_H

#include <glib.h>

/*
 * Read a file of lines "NAME:KEY" into a table of names to keys (GBytes).
 * Empty lines and those that start with '#' are skipped.
 *
 * Errors: NOT_FOUND, CORRUPT (the line's number is said, not what is in it),
 * IO.
 */
GHashTable *snap_nbd_tls_keys_read (const char *path, GError **error);

#endif
