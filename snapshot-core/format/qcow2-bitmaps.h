/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directory of persistent dirty bitmaps in a qcow2 image.
 *
 * Source of the format: QEMU docs/interop/qcow2.txt, "Bitmaps extension".
 */
#ifndef SNAP_FORMAT_QCOW2_BITMAPS_H
#define SNAP_FORMAT_QCOW2_BITMAPS_H

#include "snapshot-core/base/extents.h"
#include "snapshot-core/format/qcow2-header.h"

/* More would take more than half a gigabyte of memory. */
#define SNAP_QCOW2_MAX_BITMAP_EXTENTS (16 * 1024 * 1024)

typedef struct {
  char *name;           /* any bytes but NUL */
  guint64 table_offset; /* bytes */
  guint32 table_size;   /* entries */
  gboolean in_use;      /* inconsistent: never read as "nothing dirty" */
  gboolean foreign;     /* has extra data that changes what the bits mean */
  guint64 granularity;  /* bytes per bit */
} SnapQcow2Bitmap;

/* Read the directory.  Elements SnapQcow2Bitmap, freed by the array.  Errors:
   CORRUPT, IO. */
GPtrArray *snap_qcow2_bitmaps_read (SnapReader *reader,
                                    const SnapQcow2Header *header,
                                    GError **error);

/*
 * The set bits of one bitmap as DIRTY extents clipped to the image's size.
 *
 * Errors: NOT_COMPARABLE (the bitmap is in use or foreign, or the header's
 * autoclear bit says that nobody vouches for bitmaps), UNSUPPORTED (more than
 * SNAP_QCOW2_MAX_BITMAP_EXTENTS), CORRUPT, IO.
 */
SnapExtents *snap_qcow2_bitmap_extents (SnapReader *reader,
                                        const SnapQcow2Header *header,
                                        const SnapQcow2Bitmap *bitmap,
                                        GError **error);

#endif
