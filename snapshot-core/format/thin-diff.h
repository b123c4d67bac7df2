/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The devices of a thin pool's metadata, and what differs between two.
 *
 * Two devices share whole subtrees of mappings until one of them is written:
 * two pointers to one block are equal below, whatever that is, and are not
 * followed.  So the time is in what changed, and the memory in the depth.
 *
 * No I/O but through the reader; see thin-node.h.
 */
#ifndef SNAP_FORMAT_THIN_DIFF_H
#define SNAP_FORMAT_THIN_DIFF_H

#include "snapshot-core/base/extents.h"
#include "snapshot-core/format/thin-node.h"

/* A device of the pool. */
typedef struct {
  guint64 id;
  guint64 root;           /* block of its mapping tree */
  guint64 mapped_chunks;  /* how many it maps */
  guint64 transaction_id; /* with the next two: never the same again for an */
  guint32 creation_time;  /* id that is given anew */
  guint32 snapshotted_time;
} SnapThinDevice;

/*
 * All devices, by id; elements SnapThinDevice.  @super and @reader are
 * borrowed.  Errors: CORRUPT, IO.
 */
GArray *snap_thin_devices_read (SnapReader *reader,
                                const SnapThinSuperblock *super,
                                GError **error);

/* The first byte after the last mapping of a device. */
gboolean snap_thin_device_end (SnapReader *reader,
                               const SnapThinSuperblock *super,
                               const SnapThinDevice *device, guint64 *end,
                               GError **error);

typedef struct {
  SnapReader *reader;
  const SnapThinSuperblock *super;
  const SnapThinDevice *from; /* NULL: one that maps nothing */
  const SnapThinDevice *to;

  /* Whether what is not mapped reads as zeroes: not over an external origin,
     where it shows that.  Both devices must have the same one. */
  gboolean unmapped_is_zero;

  guint64 offset, length; /* bytes, in multiples of the chunk size */

  guint max_batch; /* nodes that are read together; 0: what is fast */
} SnapThinDiff;

/*
 * Emit what differs as DIRTY extents in chunks; what is no longer mapped is
 * ZERO too.  Mappings are compared by data block alone: the time in them
 * changes when sharing ends.
 *
 * Errors: CORRUPT, IO, what @emit returns.
 */
gboolean snap_thin_diff (const SnapThinDiff *self, SnapExtentFunc emit,
                         gpointer user_data, GError **error);

#endif
