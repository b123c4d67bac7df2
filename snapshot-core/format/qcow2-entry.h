/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to layers and diffs: what one entry of an L2 table says.
 *
 * An entry maps one cluster; with extended L2 entries each of its 32
 * subclusters is of a kind of its own.
 */
#ifndef SNAP_FORMAT_QCOW2_ENTRY_H
#define SNAP_FORMAT_QCOW2_ENTRY_H

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/format/qcow2-layer.h"

/* "Refcount is one": flips in place, so it is no part of what is mapped. */
#define SNAP_QCOW2_ENTRY_COPIED (G_GUINT64_CONSTANT (1) << 63)
#define SNAP_QCOW2_ENTRY_OFFSET G_GUINT64_CONSTANT (0x00fffffffffffe00)

/* All zeroes: an unallocated cluster. */
typedef struct {
  guint64 descriptor;  /* without COPIED */
  guint64 subclusters; /* with extended L2: allocated ones in the low half,
                          zero ones in the high half */
} SnapQcow2Entry;

/* A part of a cluster, all of one kind. */
typedef struct {
  SnapQcow2Kind kind;
  guint64 length;   /* bytes */
  guint64 location; /* DATA: host offset; COMPRESSED: the descriptor; or 0 */
} SnapQcow2Piece;

/* Take entry @index of an L2 table of one cluster.  It is not checked. */
static inline SnapQcow2Entry
snap_qcow2_entry_at (const SnapQcow2Header *header, const guint8 *table,
                     guint64 index)
{
  SnapQcow2Entry entry = { 0 };

  if (header->extended_l2) {
    entry.descriptor = snap_bytes_be64_at (table, index * 2);
    entry.subclusters = snap_bytes_be64_at (table, index * 2 + 1);
  }
  else {
    entry.descriptor = snap_bytes_be64_at (table, index);
  }
  entry.descriptor &= ~SNAP_QCOW2_ENTRY_COPIED;
  return entry;
}

static inline gboolean
snap_qcow2_entry_equal (SnapQcow2Entry a, SnapQcow2Entry b)
{
  return a.descriptor == b.descriptor && a.subclusters == b.subclusters;
}

/* Whether entry @index of a table is marked as nobody else's. */
static inline gboolean
snap_qcow2_entry_is_copied (const SnapQcow2Header *header, const guint8 *table,
                            guint64 index)
{
  return (snap_bytes_be64_at (table, header->extended_l2 ? index * 2 : index)
          & SNAP_QCOW2_ENTRY_COPIED)
         != 0;
}

/* Where a plain cluster lies; 0 for none, and for a compressed one, which is
   never rewritten in place. */
guint64 snap_qcow2_entry_host_offset (SnapQcow2Entry entry);

/* Check that an entry keeps the rules of the format.  Errors: CORRUPT. */
gboolean snap_qcow2_entry_check (const SnapQcow2Header *header,
                                 SnapQcow2Entry entry, GError **error);

/*
 * Find the longest piece of a checked entry's cluster that starts
 * @in_cluster bytes into it.
 */
SnapQcow2Piece snap_qcow2_entry_piece (const SnapQcow2Header *header,
                                       SnapQcow2Entry entry,
                                       guint64 in_cluster);

#endif
