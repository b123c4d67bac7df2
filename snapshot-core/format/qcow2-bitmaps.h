/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directory of persistent dirty bitmaps in a qcow2 image.
 *
 * Source of the format: QEMU docs/interop/qcow2.txt, "Bitmaps extension".
 */
#ifndef SNAP_FORMAT_QCOW2_BITMAPS_H
#define SNAP_FORMAT_QCOW2_BITMAPS_H

#include "snapshot-core/format/qcow2-header.h"

typedef struct {
  char *name;         /* any bytes but NUL */
  gboolean in_use;    /* not stored when the image was closed */
  gboolean recording; /* QEMU goes on tracking whenever it opens the image */
  gboolean foreign;   /* has extra data that changes what the bits mean */
} SnapQcow2Bitmap;

/* Read the directory; empty where the autoclear bit says that nobody vouches
   for it.  Elements SnapQcow2Bitmap, freed by the array.  Errors: CORRUPT,
   IO. */
GPtrArray *snap_qcow2_bitmaps_read (SnapReader *reader,
                                    const SnapQcow2Header *header,
                                    GError **error);

#endif
