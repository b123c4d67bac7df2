/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which file or directory it is that is found at a path.
 */
#ifndef SNAP_OS_FILE_IDENTITY_H
#define SNAP_OS_FILE_IDENTITY_H

#include <glib.h>

/*
 * What an open file is, as text without blanks: the same after its file system
 * was mounted anew, by another path or from another device; and not that of
 * anything else that is found at its path then.  The caller frees.
 *
 * A copy of a whole file system is not told from the original.  Where a file
 * system has no name of its own, the device number stands for it, and counts
 * for this mount only.
 *
 * The error does not name the file.
 */
char *snap_file_identity (int fd, GError **error);

/*
 * Open the directory @path if it is the one of @identity; or whichever it is,
 * if that is NULL.  -1 on error.
 *
 * Errors: NOT_FOUND (none there, or another one), IO.
 */
int snap_directory_open_same (const char *path, const char *identity,
                              GError **error);

#endif
