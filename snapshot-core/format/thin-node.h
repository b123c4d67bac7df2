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

#include <string.h>

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

/* One node: a view of its block. */
typedef struct {
  const guint8 *bytes; /* borrowed: SNAP_THIN_BLOCK of them */
  guint32 n_entries;
  guint32 max_entries;
  guint32 value_size;
  gboolean is_leaf;
} SnapThinNode;

/*
 * Verify the block @bytes (borrowed by @node) that was read at @block as a node
 * whose keys must lie in [first, end); an end of G_MAXUINT64 is none.  Leaves
 * must have values of @value_size bytes.  Errors: CORRUPT.
 */
gboolean snap_thin_node_parse (const guint8 *bytes, guint64 block,
                               guint64 first, guint64 end, guint32 value_size,
                               SnapThinNode *node, GError **error);

/* Refuse a @block that lies outside the metadata: CORRUPT. */
gboolean snap_thin_block_check (SnapReader *reader,
                                const SnapThinSuperblock *super, guint64 block,
                                GError **error);

/*
 * Read a node into the caller's @bytes and verify it.  Errors: CORRUPT, IO.
 */
gboolean snap_thin_node_read (SnapReader *reader,
                              const SnapThinSuperblock *super, guint64 block,
                              guint64 first, guint64 end, guint32 value_size,
                              guint8 *bytes, SnapThinNode *node,
                              GError **error);

#define SNAP_THIN_NODE_HEADER 32

static inline guint64
snap_thin_le64_at (const guint8 *at)
{
  guint64 value;

  memcpy (&value, at, sizeof value);
  return GUINT64_FROM_LE (value);
}

static inline guint64
snap_thin_node_key (const SnapThinNode *self, guint32 index)
{
  return snap_thin_le64_at (self->bytes + SNAP_THIN_NODE_HEADER
                            + index * sizeof (guint64));
}

/* Borrow the bytes of a value.  Values lie after the room for all keys, not
   after those that are there. */
static inline const guint8 *
snap_thin_node_value_bytes (const SnapThinNode *self, guint32 index)
{
  return self->bytes + SNAP_THIN_NODE_HEADER
         + self->max_entries * sizeof (guint64) + index * self->value_size;
}

/* The value of 8 bytes: a child's block in an internal node. */
static inline guint64
snap_thin_node_value (const SnapThinNode *self, guint32 index)
{
  return snap_thin_le64_at (snap_thin_node_value_bytes (self, index));
}

/* No key of what is below entry @index of a node whose keys end at @end is at
   or above this. */
static inline guint64
snap_thin_node_limit (const SnapThinNode *self, guint32 index, guint64 end)
{
  return index + 1 < self->n_entries ? snap_thin_node_key (self, index + 1)
                                     : end;
}

/* The last entry whose key is not above @key; 0 if all are. */
guint32 snap_thin_node_find (const SnapThinNode *self, guint64 key);

/* The first entry in which keys from @key on can lie: of a leaf the first that
   is not below it, which may be none; else the one whose subtree may hold it. */
guint32 snap_thin_node_enter (const SnapThinNode *self, guint64 key);

#endif
