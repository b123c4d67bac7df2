/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disk images in the formats that QEMU reads besides qcow2: which one it is,
 * what else is needed to read it, and how much of a file it takes.
 *
 * QEMU reads their data.  This is what has to be known before a file is
 * handed to it: no format may name a file of the host that QEMU would then
 * open, and none may be taken for another.
 *
 * Sources of the formats: QEMU docs/interop/qed_spec.txt, parallels.rst and
 * its block drivers; VMware "Virtual Disk Format 5.0"; Microsoft "Virtual Hard
 * Disk Image Format Specification".  Pure: reads through the reader it is handed.
 */
#ifndef SNAP_FORMAT_DISK_IMAGE_H
#define SNAP_FORMAT_DISK_IMAGE_H

#include "snapshot-core/base/reader.h"

typedef enum {
  SNAP_DISK_LUKS,
  SNAP_DISK_PARALLELS,
  SNAP_DISK_QED,
  SNAP_DISK_RAW,
  SNAP_DISK_VDI,
  SNAP_DISK_VHDX,
  SNAP_DISK_VMDK,
  SNAP_DISK_VPC,
} SnapDiskFormat;

/* As QEMU calls it: "vmdk". */
const char *snap_disk_format_name (SnapDiskFormat format);

/* The format of that name; FALSE for one that is not read here. */
gboolean snap_disk_format_parse (const char *name, SnapDiskFormat *format);

/* All names, comma-separated, for a message; static. */
const char *snap_disk_format_names (void);

/* The format that files with such a name have by custom, as ".vdi" tells. */
gboolean snap_disk_format_of_name (const char *path, SnapDiskFormat *format);

/*
 * Find the format by what the file begins with.  Never raw, which is what a
 * guest has written: anything.  Nor a format that is told at its end only.
 *
 * Errors: UNSUPPORTED (none of those that are known), IO.
 */
gboolean snap_disk_format_detect (SnapReader *reader, SnapDiskFormat *format,
                                  GError **error);

typedef struct {
  SnapDiskFormat format;
  guint64 granularity; /* of allocation, bytes; 0 if it is not told here */
  char *backing_file;  /* as written in the image, or NULL */
  gboolean
      backing_is_named; /* what format that has; or it is to be found out */
  SnapDiskFormat backing_format;
} SnapDiskImage;

/*
 * Read the header of an image of @format.
 *
 * Errors: UNSUPPORTED (not of that format; the disk lies in other files as
 * well; it builds on an image that cannot be named here), CORRUPT, IO.
 */
SnapDiskImage *snap_disk_image_read (SnapReader *reader, SnapDiskFormat format,
                                     GError **error);
void snap_disk_image_free (SnapDiskImage *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapDiskImage, snap_disk_image_free)

/*
 * See that the file is as long as its tables say.  QEMU reads zeroes where a
 * file was cut off, in all formats for which something is done here.
 *
 * Takes a read of all tables.  Errors: CORRUPT (it is shorter; or tables that
 * make no sense), UNSUPPORTED (tables too large to be read), IO.
 */
gboolean snap_disk_image_check_end (SnapReader *reader, SnapDiskFormat format,
                                    GError **error);

#endif
