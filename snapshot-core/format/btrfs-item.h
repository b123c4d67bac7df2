/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Items of a btrfs tree as the kernel hands them out (TREE_SEARCH_V2), and the
 * two kinds that say what a file consists of.  Pure.
 *
 * Source: linux/btrfs_tree.h, linux/btrfs.h.
 */
#ifndef SNAP_FORMAT_BTRFS_ITEM_H
#define SNAP_FORMAT_BTRFS_ITEM_H

#include "snapshot-core/base/bytes.h"

typedef struct {
  guint64 object_id; /* of a file's items: its inode number */
  guint64 offset;
  guint32 type;
  SnapBytes body; /* borrowed from the buffer */
} SnapBtrfsItem;

/* Take the next item out of a result buffer; FALSE (and failed) if it is cut
   off. */
gboolean snap_btrfs_item_take (SnapBytes *buffer, SnapBtrfsItem *item);

typedef enum {
  SNAP_BTRFS_HOLE,
  SNAP_BTRFS_DATA,
  SNAP_BTRFS_PREALLOC, /* has a place on the disk, and reads as zeroes */
  SNAP_BTRFS_INLINE,   /* lies in the tree itself */
} SnapBtrfsKind;

/* What a file shows in [start, start + length), bytes. */
typedef struct {
  guint64 start, length;
  SnapBtrfsKind kind;

  /*
   * Which bytes these are: two extents of the kind DATA show the same at one
   * offset of their files if all of these are equal.  @shift is the place
   * inside the disk extent minus the offset in the file, modulo 2^64.
   */
  guint64 disk_start, disk_length, ram_length, shift;
  guint32 encoding; /* compression, encryption and the rest */
} SnapBtrfsExtent;

/* Whether both are DATA and show the same bytes at one offset. */
gboolean snap_btrfs_extent_shares (const SnapBtrfsExtent *a,
                                   const SnapBtrfsExtent *b);

/*
 * Parse the EXTENT_DATA item @item.
 *
 * Errors: CORRUPT (too short, an unknown type, no length, or it wraps).
 */
gboolean snap_btrfs_extent_parse (const SnapBtrfsItem *item,
                                  SnapBtrfsExtent *extent, GError **error);

typedef struct {
  guint64 generation; /* tells one use of an inode number from the next */
  guint64 size;       /* bytes */
  guint64 allocated;  /* the sum of the lengths of all extents but holes */
  gboolean may_be_preallocated; /* in part, also behind its end */
} SnapBtrfsInode;

/* Parse the INODE_ITEM @item.  Errors: CORRUPT. */
gboolean snap_btrfs_inode_parse (const SnapBtrfsItem *item,
                                 SnapBtrfsInode *inode, GError **error);

#endif
