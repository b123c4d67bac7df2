/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File names as the kernel understands them.
 */
#ifndef SNAP_OS_PATH_H
#define SNAP_OS_PATH_H

/*
 * @path from the root on; the caller frees.
 *
 * ".." stays: where a symbolic link stands before it, taking both out would
 * name another file.
 */
char *snap_path_absolute (const char *path);

/*
 * @path from the root on and without symbolic links, as realpath() gives it;
 * the file itself need not exist, its directory must.  The caller frees.
 * NULL with errno otherwise.
 */
char *snap_path_resolve (const char *path);

/*
 * Where QEMU would look for a backing file that the image at @path names so; the
 * caller frees.  NULL if that is no plain file.
 */
char *snap_path_of_backing (const char *path, const char *backing);

/* Whether this process may read the file: 0, or the errno that tells why not. */
int snap_path_access (const char *path);

#endif
