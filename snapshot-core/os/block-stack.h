/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which block devices a file lies on, through everything that is stacked
 * between: partitions, device mapper, md, loop devices on files.
 */
#ifndef SNAP_OS_BLOCK_STACK_H
#define SNAP_OS_BLOCK_STACK_H

#include <glib.h>

/*
 * Whether the file or directory @path lies on the block device @device.
 *
 * FALSE also where it cannot be known: a file system that names no device, like
 * those of a network.  Of a file system on several devices only the one that
 * it was mounted by is looked at.
 */
gboolean snap_path_lies_on (const char *path, const char *device);

#endif
