/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A layer: one L1 table of a qcow2 image and the L2 tables below it, which
 * say where each cluster of one point lies.
 *
 * Source of the format: QEMU docs/interop/qcow2.txt, "Cluster mapping".
 *
 * Threads: a layer may be used from many threads.  Memory: the L1 table and
 * at most SNAP_QCOW2_L2_CACHE_BYTES of L2 tables.
 */
#ifndef SNAP_FORMAT_QCOW2_LAYER_H
#define SNAP_FORMAT_QCOW2_LAYER_H

#include "snapshot-core/base/extents.h"
#include "snapshot-core/format/qcow2-header.h"

#define SNAP_QCOW2_L2_CACHE_BYTES (32 * 1024 * 1024)

typedef struct _SnapQcow2Layer SnapQcow2Layer;

/*
 * Open the layer whose L1 table has @l1_size entries at @l1_offset, for a
 * disk of @size bytes.  @reader and @header are borrowed for its lifetime.
 * What a table too short for the size does not map is unallocated.
 *
 * Errors: UNSUPPORTED (the data lies in an external file), CORRUPT, IO.
 */
SnapQcow2Layer *snap_qcow2_layer_open (SnapReader *reader,
                                       const SnapQcow2Header *header,
                                       guint64 l1_offset, guint32 l1_size,
                                       guint64 size, GError **error);
void snap_qcow2_layer_close (SnapQcow2Layer *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapQcow2Layer, snap_qcow2_layer_close)

guint64 snap_qcow2_layer_size (SnapQcow2Layer *self);

typedef enum {
  SNAP_QCOW2_UNALLOCATED, /* the backing file shows through, or zeroes */
  SNAP_QCOW2_ZERO,        /* reads as zeroes */
  SNAP_QCOW2_DATA,        /* plain, at host_offset */
  SNAP_QCOW2_COMPRESSED,
} SnapQcow2Kind;

typedef struct {
  guint64 length; /* bytes */
  SnapQcow2Kind kind;
  guint64 host_offset; /* with DATA: of the first byte, runs contiguously; may
                          lie past the end of the file, where QEMU reads 0 */
} SnapQcow2Run;

/*
 * Find the run that starts at @offset, at most @max_length bytes and inside
 * the size.  Runs may be cut short where an L2 table ends: neighbours can be
 * of one kind.  Errors: CORRUPT, IO.
 */
gboolean snap_qcow2_layer_run (SnapQcow2Layer *self, guint64 offset,
                               guint64 max_length, SnapQcow2Run *run,
                               GError **error);

/*
 * Compare two layers of one image over [offset, offset + length), which must
 * lie inside both sizes.
 *
 * Emits extents flagged DIRTY, and ZERO where @to reads as zeroes.  Below
 * @backing_size (0 without a backing file) an unallocated cluster shows the
 * backing file; from there on it reads as zeroes.  Equal L1 entries are
 * skipped without looking below.  Memory O(one L2 table of each side).
 *
 * Either layer may be NULL, which stands for nothing allocated at all: the
 * backing file itself.
 *
 * Errors: CORRUPT, IO, and those of @emit.
 */
gboolean snap_qcow2_diff (SnapQcow2Layer *from, SnapQcow2Layer *to,
                          guint64 backing_size, guint64 offset, guint64 length,
                          SnapExtentFunc emit, gpointer user_data,
                          GError **error);

/* What extents of a diff between layers of @header are aligned to, bytes: the
   cluster, or the subcluster with extended L2 entries. */
guint64 snap_qcow2_granularity (const SnapQcow2Header *header);

#endif
