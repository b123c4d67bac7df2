/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot table of a qcow2 image.
 *
 * Source of the format: QEMU docs/interop/qcow2.txt, "Snapshots".
 */
#ifndef SNAP_FORMAT_QCOW2_SNAPSHOTS_H
#define SNAP_FORMAT_QCOW2_SNAPSHOTS_H

#include "snapshot-core/format/qcow2-header.h"

typedef struct {
  char *id;   /* unique in the image at one time; re-used after deletion */
  char *name; /* not unique; any bytes but NUL */
  guint64 l1_offset;
  guint32 l1_size; /* entries; may map more (VM state) or less than size */
  guint64 size;    /* the disk's size at that time, bytes */
  guint32 date_sec, date_nsec;
  guint64 vm_state_size; /* bytes; 0 without RAM */
} SnapQcow2Snapshot;

/*
 * Read the whole table, in its order.  Elements SnapQcow2Snapshot, freed by
 * the array.  Errors: CORRUPT, IO.
 */
GPtrArray *snap_qcow2_snapshots_read (SnapReader *reader,
                                      const SnapQcow2Header *header,
                                      GError **error);

#endif
