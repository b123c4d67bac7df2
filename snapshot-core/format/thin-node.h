/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks of a thin pool's metadata: the superblock, and the nodes of its
 * B-trees, verified when they are read.
 *
 * Little endian, blocks of 4096 bytes, a checksum and its own number in each.
 * Source: linux drivers/md/dm-thin-metadata.c and
 * drivers/md/persistent-data/dm-btree-internal.h.
 *
 * No I/O but through the reader, which must not be cached where the metadata
 * is in use: the kernel writes behind the page cache.
 */
#ifndef SNAP_FORMAT_THIN_NODE_H
#define SNAP_FORMAT_THIN_NODE_H

#include "snapshot-core/base/reader.h"

#define SNAP_THIN_BLOCK 4096

/* The deepest tree that is followed: 2^64 keys need no more. */
#define SNAP_THIN_MAX_DEPTH 10

typedef struct {
  guint64 time;
  guint64 transaction_id;
  guint64 held_root;    /* block of the metadata snapshot, 0 if none */
  guint64 mapping_root; /* device id -> root of the device's tree */
  guint64 details_root; /* device id -> what is known of it */
  guint64 n_blocks;     /* of metadata */
  guint32 chunk_size;   /* bytes of data that a mapping stands for */
} SnapThinSuperblock;

/*
 * Read the superblock in metadata block @block: 0 for the pool's own, the held
 * root for that of a metadata snapshot.  Errors: CORRUPT, UNSUPPORTED (an
 * incompatible feature), IO.
 */
gboolean snap_thin_superblock_read (SnapReader *reader, guint64 block,
                                    SnapThinSuperblock *super, GError **error);

/* One node, as it lies on disk. */
typedef struct {
  guint8 bytes[SNAP_THIN_BLOCK];
  guint32 n_entries;
  guint32 max_entries;
  guint32 value_size;
  gboolean is_leaf;
} SnapThinNode;

/*
 * Read and verify a node whose keys must lie in [first, end); an end of
 * G_MAXUINT64 is none.  Leaves must have values of @value_size bytes.
 *
 * Errors: CORRUPT, IO.
 */
gboolean snap_thin_node_read (SnapReader *reader,
                              const SnapThinSuperblock *super, guint64 block,
                              guint64 first, guint64 end, guint32 value_size,
                              SnapThinNode *node, GError **error);

guint64 snap_thin_node_key (const SnapThinNode *self, guint32 index);

/* The value of 8 bytes: a child's block in an internal node. */
guint64 snap_thin_node_value (const SnapThinNode *self, guint32 index);

/* Borrow the bytes of a value. */
const guint8 *snap_thin_node_value_bytes (const SnapThinNode *self,
                                          guint32 index);

/* The last entry whose key is not above @key; 0 if all are. */
guint32 snap_thin_node_find (const SnapThinNode *self, guint64 key);

#endif
