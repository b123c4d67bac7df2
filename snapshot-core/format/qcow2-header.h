/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header of a qcow2 image, versions 2 and 3, with its extensions.
 *
 * Source of the format: QEMU docs/interop/qcow2.txt.  Pure: reads through the
 * reader it is handed, checks every field against a named limit.
 */
#ifndef SNAP_FORMAT_QCOW2_HEADER_H
#define SNAP_FORMAT_QCOW2_HEADER_H

#include "snapshot-core/base/reader.h"

/* Limits as in QEMU's block/qcow2.h; more is refused as CORRUPT. */
#define SNAP_QCOW2_MIN_CLUSTER_BITS 9
#define SNAP_QCOW2_MAX_CLUSTER_BITS 21
#define SNAP_QCOW2_MAX_L1_BYTES (32 * 1024 * 1024)
#define SNAP_QCOW2_MAX_SNAPSHOTS 65536
#define SNAP_QCOW2_MAX_SNAPSHOT_TABLE_BYTES (1024 * 65536)
#define SNAP_QCOW2_MAX_BITMAPS 65535
#define SNAP_QCOW2_MAX_BITMAP_DIRECTORY_BYTES (1024 * 65535)

/* Parts of a cluster that extended L2 entries map one by one. */
#define SNAP_QCOW2_SUBCLUSTERS 32

typedef struct {
  guint version; /* 2 or 3 */
  guint cluster_bits;
  guint64 cluster_size; /* bytes */
  guint64 size;         /* virtual size of the active layer, bytes */
  guint32 crypt_method; /* 0 none, 1 AES, 2 LUKS */
  guint64 l1_offset;    /* of the active layer */
  guint32 l1_size;      /* entries */
  guint32 n_snapshots;
  guint64 snapshots_offset;
  guint64 incompatible, compatible, autoclear;
  guint compression_type; /* 0 zlib, 1 zstd */
  gboolean extended_l2;
  char *backing_file;   /* as written in the image, or NULL */
  char *backing_format; /* or NULL: not said */
  char *data_file;      /* external data file, or NULL; "": not named */
  guint32 n_bitmaps;    /* 0 where there is no directory, or a stale one */
  guint64 bitmaps_size, bitmaps_offset; /* bytes */
  gboolean bitmaps_stale; /* a directory is there but nobody vouches for it */
} SnapQcow2Header;

/*
 * Read and check a header.
 *
 * Errors: UNSUPPORTED (not qcow2, an unknown incompatible feature, …),
 * CORRUPT (a field breaks the format, or the corrupt bit is set), BUSY (the
 * dirty bit: the image was not closed, its metadata may be behind), IO.
 */
SnapQcow2Header *snap_qcow2_header_read (SnapReader *reader, GError **error);
void snap_qcow2_header_free (SnapQcow2Header *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapQcow2Header, snap_qcow2_header_free)

/* L2 entries in one table. */
guint64 snap_qcow2_header_l2_entries (const SnapQcow2Header *self);

/* Bytes of the disk that one L1 entry maps. */
guint64 snap_qcow2_header_l1_span (const SnapQcow2Header *self);

#endif
