/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arbitrary bytes as a disk image of every format: they are refused, or what
 * is said of them keeps its shape.
 */
#include "config.h"

#include <string.h>

#include "snapshot-core/format/disk-image.h"
#include "tests/fuzz/fuzz-target.h"

static void
check_header (const SnapDiskImage *image)
{
  if (image->backing_file != NULL && strlen (image->backing_file) > 20 * 512)
    abort ();
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);
  SnapDiskFormat found;

  if (snap_disk_format_detect (reader, &found, NULL) && found == SNAP_DISK_RAW)
    abort ();
  for (SnapDiskFormat format = SNAP_DISK_LUKS; format <= SNAP_DISK_VPC;
       format++) {
    g_autoptr (SnapDiskImage) image =
        snap_disk_image_read (reader, format, NULL);

    if (image == NULL)
      continue;
    check_header (image);
    snap_disk_image_check_end (reader, format, NULL);
  }
  return 0;
}
