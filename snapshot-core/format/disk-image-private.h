/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Headers of disk images, as both files of format/disk-image need them.
 *
 *   disk-image.c      which format, what it builds on
 *   disk-image-end.c  how far its tables reach
 */
#ifndef SNAP_FORMAT_DISK_IMAGE_PRIVATE_H
#define SNAP_FORMAT_DISK_IMAGE_PRIVATE_H

#include "snapshot-core/format/disk-image.h"

#define SNAP_DISK_SECTOR 512

typedef struct {
  guint32 flags;
  guint64 capacity, granularity; /* sectors */
  guint64 descriptor_at;         /* sectors */
  guint32 n_entries;             /* of a grain table */
  guint64 directory_at;          /* sectors */
} SnapVmdkHeader;

#define SNAP_VMDK_ZEROED_GRAINS (1U << 2)
#define SNAP_VMDK_COMPRESSED (1U << 16)
#define SNAP_VMDK_MARKERS (1U << 17)

/* Of a hosted sparse extent; with its directory at the end, of its footer. */
gboolean snap_vmdk_header_read (SnapReader *reader, SnapVmdkHeader *header,
                                GError **error);

typedef struct {
  guint32 cluster_size; /* bytes */
  guint32 table_size;   /* clusters */
  guint64 features;
  guint64 l1_offset, size; /* bytes */
  guint32 backing_offset, backing_length;
} SnapQedHeader;

gboolean snap_qed_header_read (SnapReader *reader, SnapQedHeader *header,
                               GError **error);

#endif
