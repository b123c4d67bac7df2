/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-entry.h"

#include "snapshot-core/base/error.h"

#define COMPRESSED (G_GUINT64_CONSTANT (1) << 62)
#define ZERO G_GUINT64_CONSTANT (1)
#define RESERVED (~(COMPRESSED | SNAP_QCOW2_ENTRY_OFFSET | ZERO))

#define SUBCLUSTER_BITS 5
G_STATIC_ASSERT (1 << SUBCLUSTER_BITS == SNAP_QCOW2_SUBCLUSTERS);

static guint32
allocated_bits (SnapQcow2Entry entry)
{
  return (guint32) entry.subclusters;
}

static guint32
zero_bits (SnapQcow2Entry entry)
{
  return (guint32) (entry.subclusters >> 32);
}

guint64
snap_qcow2_entry_host_offset (SnapQcow2Entry entry)
{
  return (entry.descriptor & COMPRESSED)
             ? 0
             : entry.descriptor & SNAP_QCOW2_ENTRY_OFFSET;
}

/* What is wrong with an entry, or NULL. */
static const char *
find_fault (const SnapQcow2Header *header, SnapQcow2Entry entry)
{
  guint64 offset = entry.descriptor & SNAP_QCOW2_ENTRY_OFFSET;

  if (entry.descriptor & COMPRESSED) /* all bits mean something, or nothing */
    return NULL;
  if (entry.descriptor & RESERVED)
    return "reserved bits are set";
  if (offset & (header->cluster_size - 1))
    return "unaligned cluster";
  if ((entry.descriptor & ZERO) && header->version < 3)
    return "zero flag in a version 2 image";
  if (!header->extended_l2)
    return NULL;
  if (entry.descriptor & ZERO)
    return "zero flag beside subclusters";
  if (allocated_bits (entry) & zero_bits (entry))
    return "a subcluster is both data and zero";
  if (allocated_bits (entry) != 0 && offset == 0)
    return "subclusters without a cluster";
  return NULL;
}

gboolean
snap_qcow2_entry_check (const SnapQcow2Header *header, SnapQcow2Entry entry,
                        GError **error)
{
  const char *fault = find_fault (header, entry);

  if (fault == NULL)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_CORRUPT,
                         "entry 0x%016" G_GINT64_MODIFIER "x: %s",
                         entry.descriptor, fault);
}

/* How many bits from the lowest on are set in @bits, of SUBCLUSTERS. */
static guint
count_ones (guint32 bits)
{
  return bits == G_MAXUINT32 ? SNAP_QCOW2_SUBCLUSTERS : __builtin_ctz (~bits);
}

/* The kind of the subcluster at @index, and how many from there share it. */
static SnapQcow2Kind
subcluster_kind (SnapQcow2Entry entry, guint index, guint *n)
{
  guint32 allocated = allocated_bits (entry) >> index;
  guint32 zero = zero_bits (entry) >> index;
  SnapQcow2Kind kind;

  if (allocated & 1) {
    kind = SNAP_QCOW2_DATA;
    *n = count_ones (allocated);
  }
  else if (zero & 1) {
    kind = SNAP_QCOW2_ZERO;
    *n = count_ones (zero);
  }
  else {
    kind = SNAP_QCOW2_UNALLOCATED;
    *n = count_ones (~(allocated | zero));
  }
  *n = MIN (*n, SNAP_QCOW2_SUBCLUSTERS - index);
  return kind;
}

static SnapQcow2Kind
cluster_kind (SnapQcow2Entry entry)
{
  if (entry.descriptor & ZERO)
    return SNAP_QCOW2_ZERO;
  return entry.descriptor != 0 ? SNAP_QCOW2_DATA : SNAP_QCOW2_UNALLOCATED;
}

SnapQcow2Piece
snap_qcow2_entry_piece (const SnapQcow2Header *header, SnapQcow2Entry entry,
                        guint64 in_cluster)
{
  SnapQcow2Piece piece = { .length = header->cluster_size - in_cluster };

  if (entry.descriptor & COMPRESSED) {
    piece.kind = SNAP_QCOW2_COMPRESSED;
    piece.location = entry.descriptor;
    return piece;
  }
  if (header->extended_l2) {
    guint bits = header->cluster_bits - SUBCLUSTER_BITS;
    guint index = (guint) (in_cluster >> bits);
    guint n = 0;

    piece.kind = subcluster_kind (entry, index, &n);
    piece.length = ((guint64) (index + n) << bits) - in_cluster;
  }
  else {
    piece.kind = cluster_kind (entry);
  }
  if (piece.kind == SNAP_QCOW2_DATA)
    piece.location = (entry.descriptor & SNAP_QCOW2_ENTRY_OFFSET) + in_cluster;
  return piece;
}
