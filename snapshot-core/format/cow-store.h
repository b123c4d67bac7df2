/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The exception store of a classic snapshot (dm-snapshot, "P"): which chunks
 * of the origin were saved since the snapshot, in the order in which they were.
 *
 * Little endian, no checksums.  Chunk 0 is the header; then areas, each a
 * chunk of 16-byte entries {old chunk, new chunk} followed by as many chunks
 * of data.  New chunk 0 ends the table, which only ever grows.
 * Source: linux drivers/md/dm-snap-persistent.c.
 *
 * No I/O but through the reader, which must not be cached: the kernel writes
 * behind the page cache.
 */
#ifndef SNAP_FORMAT_COW_STORE_H
#define SNAP_FORMAT_COW_STORE_H

#include "snapshot-core/base/extents.h"
#include "snapshot-core/base/reader.h"

typedef struct _SnapCowStore SnapCowStore;

/*
 * Read the header.  @reader and @name (for messages) are borrowed.
 *
 * Errors: NOT_COMPARABLE (the snapshot overflowed: its table is not whole),
 * CORRUPT, IO.
 */
SnapCowStore *snap_cow_store_open (SnapReader *reader, const char *name,
                                   GError **error);
void snap_cow_store_free (SnapCowStore *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapCowStore, snap_cow_store_free)

guint32 snap_cow_store_chunk_size (const SnapCowStore *self); /* bytes */

/*
 * The old chunks of the first @limit entries as guint64, in ascending order;
 * G_MAXUINT64 for all there are.  The caller unrefs.
 *
 * Errors: CORRUPT (fewer entries than @limit, or one that points outside),
 * IO.
 */
GArray *snap_cow_store_read (SnapCowStore *self, guint64 limit, GError **error);

/* Emit what snap_cow_store_read() gave as DIRTY extents inside
   [offset, end). */
gboolean snap_cow_store_emit (const SnapCowStore *self, const GArray *chunks,
                              guint64 offset, guint64 end, SnapExtentFunc emit,
                              gpointer user_data, GError **error);

#endif
