/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests: a qcow2 image written field by field in memory, right or wrong.
 */
#ifndef TESTS_UNIT_QCOW2_IMAGE_H
#define TESTS_UNIT_QCOW2_IMAGE_H

#include "snapshot-core/format/qcow2-layer.h"

typedef struct {
  GByteArray *bytes;
  guint64 cluster_size;
  gboolean extended_l2;
  guint64 l1_offset; /* of the active layer */
  guint32 l1_size;   /* entries */
} Qcow2Image;

typedef enum {
  QCOW2_IMAGE_DEFAULT = 0,
  QCOW2_IMAGE_EXTENDED_L2 = 1 << 0,
} Qcow2ImageFlags;

/* A valid image of an empty disk: the header and an L1 table of zeroes. */
Qcow2Image *qcow2_image_new (guint version, guint cluster_bits, guint64 size,
                             Qcow2ImageFlags flags);
void qcow2_image_free (Qcow2Image *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2Image, qcow2_image_free)

/* Write @value as @width bytes, big endian; the bytes must be there. */
void qcow2_image_put (Qcow2Image *self, guint64 offset, guint width,
                      guint64 value);
void qcow2_image_put_text (Qcow2Image *self, guint64 offset, const char *text);
guint64 qcow2_image_get64 (Qcow2Image *self, guint64 offset);

/* Add clusters of zeroes for @length bytes at the end, return their offset. */
guint64 qcow2_image_add (Qcow2Image *self, guint64 length);

/* Set the L2 entry of guest cluster @index below an L1 table; adds the L2
   table if there is none.  Returns the offset of the L2 entry. */
guint64 qcow2_image_map (Qcow2Image *self, guint64 l1_offset, guint64 index,
                         guint64 descriptor, guint64 subclusters);

/* A reader over an exactly sized copy of the first @length bytes, or all. */
SnapReader *qcow2_image_reader_cut (Qcow2Image *self, gsize length);
SnapReader *qcow2_image_reader (Qcow2Image *self);

/* Read the header, which must be right. */
SnapQcow2Header *qcow2_image_header (SnapReader *reader);

#endif
