/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Headers and tables of disk images, made byte by byte.
 */
#include "config.h"

#include <string.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/disk-image.h"

#define LENGTH 65536

/* ---- images ---- */

static void
put_le32 (guint8 *image, gsize at, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (image + at, &value, sizeof value);
}

static void
put_le64 (guint8 *image, gsize at, guint64 value)
{
  value = GUINT64_TO_LE (value);
  memcpy (image + at, &value, sizeof value);
}

/* A copy of exactly that length: reading past it is seen. */
static SnapReader *
read_part (const guint8 *image, gsize length)
{
  g_autoptr (GBytes) bytes = g_bytes_new (image, length);

  return snap_reader_new_memory (bytes);
}

/* A directory in sector 21, a table in sector 22, grains of 4 KiB. */
static void
make_vmdk (guint8 *image, const char *descriptor)
{
  memset (image, 0, LENGTH);
  memcpy (image, "KDMV", 4);
  put_le32 (image, 4, 1);
  put_le64 (image, 12, 128);
  put_le64 (image, 20, 8);
  put_le64 (image, 28, 1);
  put_le64 (image, 36, 20);
  put_le32 (image, 44, 512);
  put_le64 (image, 56, 21);
  put_le32 (image, 21 * 512, 22);
  g_strlcpy ((char *) image + 512, descriptor, 512);
}

/* Clusters of 4 KiB: a table in the second, one under it in the third. */
static void
make_qed (guint8 *image)
{
  memset (image, 0, LENGTH);
  memcpy (image, "QED", 4);
  put_le32 (image, 4, 4096);
  put_le32 (image, 8, 1);
  put_le32 (image, 12, 1);
  put_le64 (image, 40, 4096);
  put_le64 (image, 48, 65536);
  put_le64 (image, 4096, 8192);
}

static void
make_vdi (guint8 *image)
{
  memset (image, 0, LENGTH);
  put_le32 (image, 64, 0xbeda107f);
  put_le32 (image, 0x154, 512);
  put_le32 (image, 0x158, 1024);
  put_le32 (image, 0x178, 4096);
  put_le32 (image, 0x180, 4);
  memset (image + 512, 0xff, 16);
}

static void
make_parallels (guint8 *image, const char *magic)
{
  memset (image, 0, LENGTH);
  memcpy (image, magic, 16);
  put_le32 (image, 28, 8);
  put_le32 (image, 32, 4);
}

/* ---- what is said of them ---- */

static void
assert_detected (const guint8 *image, gsize length, SnapDiskFormat expected)
{
  g_autoptr (SnapReader) reader = read_part (image, length);
  g_autoptr (GError) error = NULL;
  SnapDiskFormat format;

  snap_disk_format_detect (reader, &format, &error);
  g_assert_no_error (error);
  g_assert_cmpint (format, ==, expected);
}

static void
assert_refused (const guint8 *image, gsize length, SnapDiskFormat format,
                SnapError code, const char *word)
{
  g_autoptr (SnapReader) reader = read_part (image, length);
  g_autoptr (GError) error = NULL;
  g_autoptr (SnapDiskImage) header =
      snap_disk_image_read (reader, format, &error);

  g_assert_null (header);
  g_assert_error (error, SNAP_ERROR, (int) code);
  g_assert_nonnull (strstr (error->message, word));
}

static SnapDiskImage *
must_read (const guint8 *image, SnapDiskFormat format)
{
  g_autoptr (SnapReader) reader = read_part (image, LENGTH);
  g_autoptr (GError) error = NULL;
  SnapDiskImage *header = snap_disk_image_read (reader, format, &error);

  g_assert_no_error (error);
  return header;
}

/* Whole with @end bytes, and cut off with one less. */
static void
assert_end (const guint8 *image, SnapDiskFormat format, gsize end)
{
  g_autoptr (SnapReader) whole = read_part (image, end);
  g_autoptr (SnapReader) cut = read_part (image, end - 1);
  g_autoptr (GError) error = NULL;

  snap_disk_image_check_end (whole, format, &error);
  g_assert_no_error (error);
  g_assert_false (snap_disk_image_check_end (cut, format, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "cut off"));
}

/* ---- tests ---- */

static void
test_a_format_is_told_by_its_magic (void)
{
  guint8 image[LENGTH];

  make_vmdk (image, "");
  assert_detected (image, LENGTH, SNAP_DISK_VMDK);
  make_qed (image);
  assert_detected (image, LENGTH, SNAP_DISK_QED);
  assert_detected (image, 4, SNAP_DISK_QED);
  make_vdi (image);
  assert_detected (image, LENGTH, SNAP_DISK_VDI);
  make_parallels (image, "WithoutFreeSpace");
  assert_detected (image, LENGTH, SNAP_DISK_PARALLELS);
}

static void
assert_not_detected (const void *head, gsize length, const char *word)
{
  g_autoptr (SnapReader) reader = read_part (head, length);
  g_autoptr (GError) error = NULL;
  SnapDiskFormat format;

  g_assert_false (snap_disk_format_detect (reader, &format, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, word));
}

static void
test_raw_is_never_guessed (void)
{
  guint8 zeroes[1024] = { 0 };

  assert_not_detected (zeroes, sizeof zeroes, "raw is never guessed");
  assert_not_detected ("", 0, "raw is never guessed");
  assert_not_detected ("QEDx and more", 13, "raw is never guessed");
  assert_not_detected ("QFI\xfb", 4, "qcow2 driver");
  assert_not_detected ("# Disk DescriptorFile\n", 22, "other files");
}

static void
test_a_vmdk_that_names_other_files_is_refused (void)
{
  guint8 image[LENGTH];

  make_vmdk (image, "CID=1\n");
  put_le64 (image, 12, 0);
  assert_refused (image, LENGTH, SNAP_DISK_VMDK, SNAP_ERROR_UNSUPPORTED,
                  "other files");
  make_vmdk (image, "CID=1\n");
  put_le64 (image, 28, 0);
  assert_refused (image, LENGTH, SNAP_DISK_VMDK, SNAP_ERROR_UNSUPPORTED,
                  "other files");
  make_vmdk (image, "CID=1\n");
  put_le64 (image, 20, 0);
  assert_refused (image, LENGTH, SNAP_DISK_VMDK, SNAP_ERROR_CORRUPT, "header");
}

static void
test_a_vmdk_tells_its_parent (void)
{
  guint8 image[LENGTH];
  g_autoptr (SnapDiskImage) child = NULL;
  g_autoptr (SnapDiskImage) alone = NULL;

  make_vmdk (image, "CID=1\nparentCID=7\nparentFileNameHint=\"a b.vmdk\"\n");
  child = must_read (image, SNAP_DISK_VMDK);
  g_assert_cmpstr (child->backing_file, ==, "a b.vmdk");
  g_assert_true (child->backing_is_named);
  g_assert_cmpint (child->backing_format, ==, SNAP_DISK_VMDK);
  g_assert_cmpuint (child->granularity, ==, 4096);

  make_vmdk (image, "CID=1\nparentCID=ffffffff\n");
  alone = must_read (image, SNAP_DISK_VMDK);
  g_assert_null (alone->backing_file);

  make_vmdk (image, "CID=1\nparentCID=7\n");
  assert_refused (image, LENGTH, SNAP_DISK_VMDK, SNAP_ERROR_UNSUPPORTED,
                  "does not name it");
}

static void
test_a_qed_tells_its_backing_file (void)
{
  guint8 image[LENGTH];
  g_autoptr (SnapDiskImage) guessed = NULL;
  g_autoptr (SnapDiskImage) raw = NULL;

  make_qed (image);
  put_le64 (image, 16, 1);
  put_le32 (image, 56, 64);
  put_le32 (image, 60, 4);
  memcpy (image + 64, "base", 4);
  guessed = must_read (image, SNAP_DISK_QED);
  g_assert_cmpstr (guessed->backing_file, ==, "base");
  g_assert_false (guessed->backing_is_named);
  put_le64 (image, 16, 1 | 4);
  raw = must_read (image, SNAP_DISK_QED);
  g_assert_true (raw->backing_is_named);
  g_assert_cmpint (raw->backing_format, ==, SNAP_DISK_RAW);

  put_le32 (image, 60, 5000);
  assert_refused (image, LENGTH, SNAP_DISK_QED, SNAP_ERROR_CORRUPT, "too long");
  put_le32 (image, 4, 4095);
  assert_refused (image, LENGTH, SNAP_DISK_QED, SNAP_ERROR_CORRUPT, "header");
}

static void
test_a_vhd_that_builds_on_another_is_refused (void)
{
  guint8 image[1024] = { 0 };
  g_autoptr (SnapDiskImage) fixed = NULL;
  g_autoptr (SnapReader) reader = NULL;

  memcpy (image, "conectix", 8);
  image[63] = 4;
  assert_refused (image, sizeof image, SNAP_DISK_VPC, SNAP_ERROR_UNSUPPORTED,
                  "builds on another");

  memset (image, 0, sizeof image);
  assert_refused (image, sizeof image, SNAP_DISK_VPC, SNAP_ERROR_UNSUPPORTED,
                  "cut off");
  memcpy (image + 512, "conectix", 8);
  image[512 + 63] = 2;
  reader = read_part (image, sizeof image);
  fixed = snap_disk_image_read (reader, SNAP_DISK_VPC, NULL);
  g_assert_nonnull (fixed);
}

static void
test_a_named_format_must_be_the_one (void)
{
  guint8 image[LENGTH];
  g_autoptr (SnapDiskImage) raw = NULL;

  make_qed (image);
  assert_refused (image, LENGTH, SNAP_DISK_VDI, SNAP_ERROR_UNSUPPORTED,
                  "no vdi image");
  raw = must_read (image, SNAP_DISK_RAW);
  g_assert_null (raw->backing_file);
}

static void
test_where_a_file_ends_is_told_by_its_tables (void)
{
  guint8 image[LENGTH];

  make_vmdk (image, "");
  put_le32 (image, 22 * 512 + 4, 30);
  put_le32 (image, 22 * 512 + 8, 28);
  assert_end (image, SNAP_DISK_VMDK, 30 * 512 + 4096);
  make_qed (image);
  put_le64 (image, 8192, 1);
  put_le64 (image, 8200, 20480);
  assert_end (image, SNAP_DISK_QED, 20480 + 4096);
  make_vdi (image);
  put_le32 (image, 512, 1);
  put_le32 (image, 520, 0xfffffffe);
  assert_end (image, SNAP_DISK_VDI, 1024 + 2 * 4096);
  make_parallels (image, "WithoutFreeSpace");
  put_le32 (image, 68, 16);
  assert_end (image, SNAP_DISK_PARALLELS, 16 * 512 + 4096);
  make_parallels (image, "WithouFreSpacExt");
  put_le32 (image, 68, 2);
  assert_end (image, SNAP_DISK_PARALLELS, 3 * 4096);
}

static void
test_a_compressed_grain_is_as_long_as_it_says (void)
{
  guint8 image[LENGTH];

  make_vmdk (image, "");
  put_le32 (image, 8, 3 << 16);
  put_le32 (image, 22 * 512 + 4, 40);
  put_le32 (image, 40 * 512 + 8, 100);
  assert_end (image, SNAP_DISK_VMDK, 40 * 512 + 12 + 100);
}

/* Whatever stands there: an answer or an error, soon. */
static void
test_tables_of_nonsense_are_refused (void)
{
  guint8 image[LENGTH];
  g_autoptr (GError) error = NULL;
  g_autoptr (SnapReader) reader = NULL;

  make_qed (image);
  for (gsize at = 4096; at < 8192; at += 8)
    put_le64 (image, at, 8192);
  reader = read_part (image, LENGTH);
  g_assert_false (snap_disk_image_check_end (reader, SNAP_DISK_QED, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "overlap"));
}

static void
test_a_table_that_points_nowhere_is_refused (void)
{
  guint8 image[LENGTH];
  g_autoptr (GError) error = NULL;
  g_autoptr (SnapReader) reader = NULL;

  make_qed (image);
  put_le64 (image, 8192, G_MAXUINT64 - 4096);
  reader = read_part (image, LENGTH);
  g_assert_false (snap_disk_image_check_end (reader, SNAP_DISK_QED, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "nowhere"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/disk-image/a-format-is-told-by-its-magic",
                   test_a_format_is_told_by_its_magic);
  g_test_add_func ("/disk-image/raw-is-never-guessed",
                   test_raw_is_never_guessed);
  g_test_add_func ("/disk-image/a-vmdk-that-names-other-files-is-refused",
                   test_a_vmdk_that_names_other_files_is_refused);
  g_test_add_func ("/disk-image/a-vmdk-tells-its-parent",
                   test_a_vmdk_tells_its_parent);
  g_test_add_func ("/disk-image/a-qed-tells-its-backing-file",
                   test_a_qed_tells_its_backing_file);
  g_test_add_func ("/disk-image/a-vhd-that-builds-on-another-is-refused",
                   test_a_vhd_that_builds_on_another_is_refused);
  g_test_add_func ("/disk-image/a-named-format-must-be-the-one",
                   test_a_named_format_must_be_the_one);
  g_test_add_func ("/disk-image/where-a-file-ends-is-told-by-its-tables",
                   test_where_a_file_ends_is_told_by_its_tables);
  g_test_add_func ("/disk-image/a-compressed-grain-is-as-long-as-it-says",
                   test_a_compressed_grain_is_as_long_as_it_says);
  g_test_add_func ("/disk-image/tables-of-nonsense-are-refused",
                   test_tables_of_nonsense_are_refused);
  g_test_add_func ("/disk-image/a-table-that-points-nowhere-is-refused",
                   test_a_table_that_points_nowhere_is_refused);
  return g_test_run ();
}
