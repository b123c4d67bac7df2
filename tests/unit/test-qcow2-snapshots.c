/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-snapshots.h"

#include <string.h>

#include "snapshot-core/base/error.h"
#include "tests/unit/qcow2-image.h"

#define DISK (40 * 1024)

/* The fields of an entry, as they are to be written. */
typedef struct {
  const char *id, *name;
  guint64 l1_offset;
  guint32 l1_size;
  guint32 extra_length;
  guint64 vm_state_size, disk_size;
} Entry;

static const Entry plain = { .id = "1",
                             .name = "mon",
                             .l1_offset = 512,
                             .l1_size = 2,
                             .extra_length = 24,
                             .vm_state_size = 5,
                             .disk_size = DISK - 512 };

/* Write an entry at *offset and move *offset past it. */
static void
put_entry (Qcow2Image *image, guint64 *offset, const Entry *entry)
{
  guint64 at = *offset;
  guint64 text = at + 40 + entry->extra_length;

  qcow2_image_put (image, at, 8, entry->l1_offset);
  qcow2_image_put (image, at + 8, 4, entry->l1_size);
  qcow2_image_put (image, at + 12, 2, strlen (entry->id));
  qcow2_image_put (image, at + 14, 2, strlen (entry->name));
  qcow2_image_put (image, at + 16, 4, 1700000000);
  qcow2_image_put (image, at + 20, 4, 123456789);
  qcow2_image_put (image, at + 32, 4, 77);
  qcow2_image_put (image, at + 36, 4, entry->extra_length);
  if (entry->extra_length >= 8)
    qcow2_image_put (image, at + 40, 8, entry->vm_state_size);
  if (entry->extra_length >= 16)
    qcow2_image_put (image, at + 48, 8, entry->disk_size);
  qcow2_image_put_text (image, text, entry->id);
  qcow2_image_put_text (image, text + strlen (entry->id), entry->name);
  *offset = text + strlen (entry->id) + strlen (entry->name);
  *offset = (*offset + 7) / 8 * 8;
}

/* An image whose file ends where its snapshot table does. */
static Qcow2Image *
image_with (const Entry *entries, guint n)
{
  Qcow2Image *image = qcow2_image_new (3, 9, DISK, QCOW2_IMAGE_DEFAULT);
  guint64 table = qcow2_image_add (image, 8192);
  guint64 offset = table;

  for (guint i = 0; i < n; i++)
    put_entry (image, &offset, &entries[i]);
  qcow2_image_put (image, 60, 4, n);
  qcow2_image_put (image, 64, 8, table);
  g_byte_array_set_size (image->bytes, (guint) offset);
  return image;
}

static void
assert_refused (Qcow2Image *image)
{
  g_autoptr (SnapReader) reader = qcow2_image_reader (image);
  g_autoptr (SnapQcow2Header) header = qcow2_image_header (reader);
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_qcow2_snapshots_read (reader, header, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
}

static GPtrArray *
read_snapshots (Qcow2Image *image)
{
  g_autoptr (SnapReader) reader = qcow2_image_reader (image);
  g_autoptr (SnapQcow2Header) header = qcow2_image_header (reader);
  g_autoptr (GError) error = NULL;
  GPtrArray *snapshots = snap_qcow2_snapshots_read (reader, header, &error);

  g_assert_no_error (error);
  return snapshots;
}

static void
test_reads_all_fields_in_order (void)
{
  const Entry entries[] = {
    plain,
    { .id = "2", .name = "mon", .l1_offset = 1024, .extra_length = 0 },
    { .id = "10", .name = "", .extra_length = 8, .vm_state_size = 9 },
    { .id = "", .name = "a name; with $(shell)", .extra_length = 1024 },
  };
  g_autoptr (Qcow2Image) image = image_with (entries, 4);
  g_autoptr (GPtrArray) snapshots = read_snapshots (image);
  const SnapQcow2Snapshot *one, *two, *three, *four;

  g_assert_cmpuint (snapshots->len, ==, 4);
  one = g_ptr_array_index (snapshots, 0);
  two = g_ptr_array_index (snapshots, 1);
  three = g_ptr_array_index (snapshots, 2);
  four = g_ptr_array_index (snapshots, 3);
  g_assert_cmpstr (one->id, ==, "1");
  g_assert_cmpstr (one->name, ==, "mon");
  g_assert_cmpuint (one->l1_offset, ==, 512);
  g_assert_cmpuint (one->l1_size, ==, 2);
  g_assert_cmpuint (one->size, ==, DISK - 512);
  g_assert_cmpuint (one->vm_state_size, ==, 5);
  g_assert_cmpuint (one->date_sec, ==, 1700000000);
  g_assert_cmpuint (one->date_nsec, ==, 123456789);
  g_assert_cmpstr (two->id, ==, "2");
  g_assert_cmpuint (two->size, ==, DISK);
  g_assert_cmpuint (two->vm_state_size, ==, 77);
  g_assert_cmpstr (three->id, ==, "10");
  g_assert_cmpstr (three->name, ==, "");
  g_assert_cmpuint (three->size, ==, DISK);
  g_assert_cmpuint (three->vm_state_size, ==, 9);
  g_assert_cmpstr (four->id, ==, "");
  g_assert_cmpstr (four->name, ==, "a name; with $(shell)");
}

static void
test_reads_no_snapshots (void)
{
  g_autoptr (Qcow2Image) image =
      qcow2_image_new (2, 9, DISK, QCOW2_IMAGE_DEFAULT);
  g_autoptr (GPtrArray) snapshots = read_snapshots (image);

  g_assert_cmpuint (snapshots->len, ==, 0);
}

static void
test_rejects_every_truncation (void)
{
  const Entry second = { .id = "2", .name = "seven", .extra_length = 18 };
  const Entry entries[] = { plain, second };
  g_autoptr (Qcow2Image) image = image_with (entries, 2);
  guint64 table = qcow2_image_get64 (image, 64);
  /* The padding of the last entry may be missing. */
  guint64 end = table + (40 + 24 + 1 + 3 + 4) + (40 + 18 + 1 + 5);

  g_assert_cmpuint (end, <=, image->bytes->len);
  g_byte_array_set_size (image->bytes, (guint) end);
  g_ptr_array_unref (read_snapshots (image));
  while (image->bytes->len > table) {
    g_byte_array_set_size (image->bytes, image->bytes->len - 1);
    assert_refused (image);
  }
}

static void
test_rejects_entries_out_of_range (void)
{
  static const struct {
    guint offset, width;
    guint64 value;
  } cases[] = {
    { 0, 8, 513 },                 /* L1 table unaligned */
    { 8, 4, 4 * 1024 * 1024 + 1 }, /* L1 table too large */
    { 8, 4, G_MAXUINT32 },
    { 36, 4, 1025 }, /* extra data */
    { 36, 4, G_MAXUINT32 },
    { 48, 8, (guint64) G_MAXINT64 + 1 }, /* disk size */
    { 64, 1, 0 },                        /* NUL in the id */
    { 66, 1, 0 },                        /* NUL in the name */
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (Qcow2Image) image = image_with (&plain, 1);
    guint64 table = qcow2_image_get64 (image, 64);

    g_byte_array_set_size (image->bytes, image->bytes->len + 65536);
    qcow2_image_put (image, table + cases[i].offset, cases[i].width,
                     cases[i].value);
    assert_refused (image);
  }
}

static void
test_rejects_one_id_twice (void)
{
  Entry entries[] = { plain, plain, plain };
  g_autoptr (Qcow2Image) good = NULL;
  g_autoptr (Qcow2Image) bad = NULL;

  entries[1].id = "2";
  entries[2].id = "3";
  good = image_with (entries, 3);
  g_ptr_array_unref (read_snapshots (good));
  entries[2].id = "1";
  bad = image_with (entries, 3);
  assert_refused (bad);
}

/* 65536 names of 65535 bytes would be 4 GiB. */
static void
test_rejects_a_table_too_large (void)
{
  g_autoptr (Qcow2Image) image = image_with (&plain, 1);
  guint64 table = qcow2_image_get64 (image, 64);
  guint32 n = SNAP_QCOW2_MAX_SNAPSHOT_TABLE_BYTES / 65536 + 1;
  g_autoptr (SnapReader) reader = NULL;
  g_autoptr (SnapQcow2Header) header = NULL;
  g_autoptr (GError) error = NULL;
  guint64 length = (guint64) (n + 1) * 65536;

  g_byte_array_set_size (image->bytes, (guint) (table + length));
  memset (image->bytes->data + table, 'x', length);
  for (guint32 i = 0; i < n; i++) {
    guint64 at = table + i * G_GUINT64_CONSTANT (65536);
    g_autofree char *id = g_strdup_printf ("%04x", i);

    qcow2_image_put (image, at, 8, 512);
    qcow2_image_put (image, at + 8, 4, 1);
    qcow2_image_put (image, at + 12, 2, 4);
    qcow2_image_put (image, at + 14, 2, 65536 - 40 - 4);
    qcow2_image_put (image, at + 36, 4, 0);
    qcow2_image_put_text (image, at + 40, id);
  }
  qcow2_image_put (image, 60, 4, n);
  reader = qcow2_image_reader (image);
  header = qcow2_image_header (reader);
  g_assert_null (snap_qcow2_snapshots_read (reader, header, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "largest table"));
}

static void
test_passes_read_errors_on (void)
{
  g_autoptr (Qcow2Image) image = image_with (&plain, 1);
  g_autoptr (SnapReader) inner = qcow2_image_reader (image);
  g_autoptr (SnapQcow2Header) header = qcow2_image_header (inner);
  guint64 table = qcow2_image_get64 (image, 64);

  for (guint64 bad = table; bad < table + 40 + 24 + 4; bad++) {
    g_autoptr (SnapReader) reader = snap_reader_new_faulty (inner, bad);
    g_autoptr (GError) error = NULL;

    g_assert_null (snap_qcow2_snapshots_read (reader, header, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qcow2/snapshots/reads-all-fields-in-order",
                   test_reads_all_fields_in_order);
  g_test_add_func ("/qcow2/snapshots/reads-no-snapshots",
                   test_reads_no_snapshots);
  g_test_add_func ("/qcow2/snapshots/rejects-every-truncation",
                   test_rejects_every_truncation);
  g_test_add_func ("/qcow2/snapshots/rejects-entries-out-of-range",
                   test_rejects_entries_out_of_range);
  g_test_add_func ("/qcow2/snapshots/rejects-one-id-twice",
                   test_rejects_one_id_twice);
  g_test_add_func ("/qcow2/snapshots/rejects-a-table-too-large",
                   test_rejects_a_table_too_large);
  g_test_add_func ("/qcow2/snapshots/passes-read-errors-on",
                   test_passes_read_errors_on);
  return g_test_run ();
}
