/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the kernel keeps the bytes of a file: ioctl FIEMAP.
 */
#ifndef SNAP_OS_FIEMAP_H
#define SNAP_OS_FIEMAP_H

#include "snapshot-core/format/fiemap.h"

/*
 * The map of an open file (borrowed, also after the return), asked for in
 * batches.  Dirty pages are written out first: without that, a change that is
 * only in memory does not show.  @name is for messages.
 *
 * Errors: UNSUPPORTED (a file system without it), IO.
 */
SnapFiemap *snap_fiemap_open (int fd, const char *name, GError **error);

/* The number of extents of a file, without reading them. */
gboolean snap_fiemap_count (int fd, const char *name, guint64 *n_extents,
                            GError **error);

#endif
