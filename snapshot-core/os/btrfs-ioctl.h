/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading the trees of a btrfs file system through the kernel.
 */
#ifndef SNAP_OS_BTRFS_IOCTL_H
#define SNAP_OS_BTRFS_IOCTL_H

#include "snapshot-core/base/bytes.h"

/* The largest item there can be, with its header: when there is less room
   left behind a result, more may have been found than fitted. */
#define SNAP_BTRFS_MAX_ITEM (64 * 1024 + 32)

/* What a search needs of its buffer for itself. */
#define SNAP_BTRFS_REQUEST 112

/* A buffer on the stack, for small items of @room bytes together. */
#define SNAP_BTRFS_BUFFER(name, room) \
  _Alignas(guint64) guint8 name[SNAP_BTRFS_REQUEST + (room)]

/* Items of one object and one type in the tree that a descriptor's file lies
   in. */
typedef struct {
  guint64 object_id;
  guint32 type;
  guint64 first_offset, last_offset; /* inclusive */
  guint64 min_generation;            /* only leaves that were written since */
  guint32 n_max;
} SnapBtrfsTreeSearch;

/*
 * Search.  *found borrows the rest of @buffer, aligned as from malloc(), which
 * begins with *n_found items as format/btrfs-item parses them, ascending, from
 * the first on.  It stops when @n_max are found or the next does not fit; then
 * another search goes on.  If not even the first fits, that is an error.
 *
 * Errors: UNSUPPORTED (this needs CAP_SYS_ADMIN), IO; they do not name the
 * file.
 */
gboolean snap_btrfs_search (int fd, const SnapBtrfsTreeSearch *search,
                            guint8 *buffer, gsize length, SnapBytes *found,
                            guint32 *n_found, GError **error);

/* Whether snap_btrfs_search() is allowed to us. */
gboolean snap_btrfs_may_search (int fd);

/* The size of a sector: what the file system allocates by; bytes. */
gboolean snap_btrfs_sector_size (int fd, guint64 *size, GError **error);

#endif
