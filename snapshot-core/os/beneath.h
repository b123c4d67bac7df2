/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a file below a directory, and nowhere else.
 */
#ifndef SNAP_OS_BENEATH_H
#define SNAP_OS_BENEATH_H

/*
 * Open the plain file @path below @directory_fd for reading.  No symbolic
 * link is followed on the way, no mount crossed, no FIFO waited for.
 *
 * Returns -1 and errno; ENOENT also where @path is no plain file.
 */
int snap_open_beneath (int directory_fd, const char *path);

#endif
