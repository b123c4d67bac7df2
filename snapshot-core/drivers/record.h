/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of a cut as one line of ASCII: words apart by spaces, any byte of
 * a word that is not plain as %XX.  Paths may hold anything.
 */
#ifndef SNAP_DRIVERS_RECORD_H
#define SNAP_DRIVERS_RECORD_H

#include <glib.h>

/* A NULL-terminated array of words as a record; the caller frees. */
char *snap_record_format (const char *const *words);

/*
 * The words of a record, of which there must be exactly @n, none empty; the
 * caller frees with g_strfreev().  CORRUPT if it is something else.
 */
char **snap_record_parse (const char *record, guint n, GError **error);

#endif
