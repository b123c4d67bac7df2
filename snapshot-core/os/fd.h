/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File descriptors that close with their scope, and small files that are on
 * disk when a call returns.
 */
#ifndef SNAP_OS_FD_H
#define SNAP_OS_FD_H

#include <glib.h>

/* snap_autofd int fd = open (...);   closed at the end of the scope. */
#define snap_autofd __attribute__ ((cleanup (snap_fd_clear)))

/* Close *fd if it is one and set it to -1; keeps errno. */
void snap_fd_clear (int *fd);

/* Take the descriptor out of the variable. */
int snap_fd_steal (int *fd);

/* Of int; it closes those that are removed or left in it. */
GArray *snap_fd_array_new (void);

/* Write all of @length bytes, over EINTR and short writes.  The error does
   not name the file. */
gboolean snap_fd_write_all (int fd, const void *data, gsize length,
                            GError **error);

/*
 * Replace @path by a file with @text, all or nothing, also over a crash:
 * a temporary name beside it, fsync, rename, fsync of the directory.  The
 * file gets mode 0600.  Who is killed in between may leave the temporary file,
 * PATH.XXXXXX, behind.
 */
gboolean snap_file_replace (const char *path, const char *text, GError **error);

/* Remove @path and fsync its directory.  A missing file is no error, a
   missing directory is NOT_FOUND. */
gboolean snap_file_remove (const char *path, GError **error);

/* fsync the directory that @path lies in. */
gboolean snap_file_sync_parent (const char *path, GError **error);

#endif
