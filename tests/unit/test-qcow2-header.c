/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-header.h"

#include <string.h>

#include "snapshot-core/base/error.h"
#include "tests/unit/qcow2-image.h"

#define MIB (1024 * 1024)

#define EXTENSION_BACKING_FORMAT 0xe2792aca
#define EXTENSION_BITMAPS 0x23852875
#define EXTENSION_DATA_FILE 0x44415441
#define EXTENSION_FEATURES 0x6803f857

static Qcow2Image *
image_v3 (void)
{
  return qcow2_image_new (3, 16, 256 * MIB, QCOW2_IMAGE_DEFAULT);
}

static void
assert_refused (Qcow2Image *image, gsize length, SnapError code)
{
  g_autoptr (SnapReader) reader = qcow2_image_reader_cut (image, length);
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_qcow2_header_read (reader, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
}

static SnapQcow2Header *
read_header (Qcow2Image *image)
{
  g_autoptr (SnapReader) reader = qcow2_image_reader (image);

  return qcow2_image_header (reader);
}

/* Write an extension of zeroes at *offset, and move *offset past it.  Returns
   the offset of its data. */
static guint64
put_extension (Qcow2Image *image, guint64 *offset, guint32 type, guint32 length)
{
  guint64 data = *offset + 8;

  qcow2_image_put (image, *offset, 4, type);
  qcow2_image_put (image, *offset + 4, 4, length);
  *offset = data + (length + 7) / 8 * 8;
  return data;
}

static void
test_reads_version_3 (void)
{
  g_autoptr (Qcow2Image) image =
      qcow2_image_new (3, 16, 1024 * MIB + 512, QCOW2_IMAGE_EXTENDED_L2);
  g_autoptr (SnapQcow2Header) header = NULL;

  qcow2_image_put (image, 32, 4, 2);
  qcow2_image_put (image, 60, 4, 3);
  qcow2_image_put (image, 64, 8, 0x10000);
  qcow2_image_put (image, 72, 8, 1 << 4 | 1 << 3);
  qcow2_image_put (image, 80, 8, 1);
  qcow2_image_put (image, 104, 1, 1);
  header = read_header (image);
  g_assert_cmpuint (header->version, ==, 3);
  g_assert_cmpuint (header->cluster_bits, ==, 16);
  g_assert_cmpuint (header->cluster_size, ==, 65536);
  g_assert_cmpuint (header->size, ==, 1024 * MIB + 512);
  g_assert_cmpuint (header->crypt_method, ==, 2);
  g_assert_cmpuint (header->l1_offset, ==, 65536);
  g_assert_cmpuint (header->l1_size, ==, 5);
  g_assert_cmpuint (header->n_snapshots, ==, 3);
  g_assert_cmpuint (header->snapshots_offset, ==, 0x10000);
  g_assert_cmpuint (header->compatible, ==, 1);
  g_assert_cmpuint (header->compression_type, ==, 1);
  g_assert_true (header->extended_l2);
  g_assert_null (header->backing_file);
  g_assert_null (header->data_file);
  g_assert_cmpuint (snap_qcow2_header_l2_entries (header), ==, 4096);
  g_assert_cmpuint (snap_qcow2_header_l1_span (header), ==, 256 * MIB);
}

static void
test_reads_version_2 (void)
{
  g_autoptr (Qcow2Image) image =
      qcow2_image_new (2, 9, MIB, QCOW2_IMAGE_DEFAULT);
  g_autoptr (SnapQcow2Header) header = NULL;
  guint64 offset = 72;
  guint64 data = put_extension (image, &offset, EXTENSION_BACKING_FORMAT, 3);

  qcow2_image_put_text (image, data, "raw");
  header = read_header (image);
  g_assert_cmpuint (header->version, ==, 2);
  g_assert_cmpuint (header->incompatible, ==, 0);
  g_assert_cmpstr (header->backing_format, ==, "raw");
  g_assert_cmpuint (snap_qcow2_header_l2_entries (header), ==, 64);
  g_assert_cmpuint (snap_qcow2_header_l1_span (header), ==, 32768);
}

static void
test_rejects_every_truncation (void)
{
  g_autoptr (Qcow2Image) image =
      qcow2_image_new (3, 9, MIB, QCOW2_IMAGE_DEFAULT);
  g_autoptr (SnapQcow2Header) whole = read_header (image);

  g_assert_cmpuint (image->bytes->len, ==, 1024);
  for (gsize length = 0; length < 4; length++)
    assert_refused (image, length, SNAP_ERROR_UNSUPPORTED);
  for (gsize length = 4; length < 512 + whole->l1_size * 8; length++)
    assert_refused (image, length, SNAP_ERROR_CORRUPT);
}

static void
test_rejects_fields_out_of_range (void)
{
  static const struct {
    guint offset, width;
    guint64 value;
    SnapError code;
  } cases[] = {
    { 0, 4, 0x514649fa, SNAP_ERROR_UNSUPPORTED },
    { 4, 4, 0, SNAP_ERROR_UNSUPPORTED },
    { 4, 4, 1, SNAP_ERROR_UNSUPPORTED },
    { 4, 4, 4, SNAP_ERROR_UNSUPPORTED },
    { 20, 4, 8, SNAP_ERROR_CORRUPT },  /* cluster_bits */
    { 20, 4, 22, SNAP_ERROR_CORRUPT }, /* cluster_bits */
    { 20, 4, 64 + 16, SNAP_ERROR_CORRUPT },
    { 20, 4, G_MAXUINT32, SNAP_ERROR_CORRUPT },
    { 24, 8, 512 * MIB + 1, SNAP_ERROR_CORRUPT }, /* size */
    { 24, 8, G_MAXUINT64, SNAP_ERROR_CORRUPT },
    { 32, 4, 3, SNAP_ERROR_UNSUPPORTED },             /* crypt_method */
    { 36, 4, 0, SNAP_ERROR_CORRUPT },                 /* l1_size */
    { 36, 4, 4 * MIB + 1, SNAP_ERROR_CORRUPT },       /* l1_size */
    { 36, 4, 65536 / 8 + 1, SNAP_ERROR_CORRUPT },     /* past the file */
    { 40, 8, 65536 + 512, SNAP_ERROR_CORRUPT },       /* l1_offset */
    { 40, 8, 65536 * 2, SNAP_ERROR_CORRUPT },         /* l1_offset */
    { 40, 8, ~(guint64) 0xffff, SNAP_ERROR_CORRUPT }, /* l1_offset */
    { 60, 4, 65537, SNAP_ERROR_CORRUPT },             /* n_snapshots */
    { 72, 8, 1 << 0, SNAP_ERROR_BUSY },               /* dirty */
    { 72, 8, 1 << 1, SNAP_ERROR_CORRUPT },            /* corrupt */
    { 72, 8, 1 << 5, SNAP_ERROR_UNSUPPORTED },        /* unknown feature */
    { 72, 8, G_GUINT64_CONSTANT (1) << 63, SNAP_ERROR_UNSUPPORTED },
    { 72, 8, 1 << 3, SNAP_ERROR_CORRUPT }, /* compression type of zlib */
    { 96, 4, 7, SNAP_ERROR_CORRUPT },      /* refcount_order */
    { 100, 4, 96, SNAP_ERROR_CORRUPT },    /* header_length */
    { 100, 4, 108, SNAP_ERROR_CORRUPT },
    { 100, 4, 65544, SNAP_ERROR_CORRUPT },
    { 104, 1, 1, SNAP_ERROR_CORRUPT },     /* compression type, no bit */
    { 104, 1, 2, SNAP_ERROR_UNSUPPORTED }, /* unknown compression type */
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (Qcow2Image) image = image_v3 ();

    g_test_message ("%u bytes at %u", cases[i].width, cases[i].offset);
    qcow2_image_put (image, cases[i].offset, cases[i].width, cases[i].value);
    assert_refused (image, image->bytes->len, cases[i].code);
  }
}

static void
test_rejects_misplaced_tables (void)
{
  g_autoptr (Qcow2Image) image = image_v3 ();

  qcow2_image_put (image, 60, 4, 1);
  qcow2_image_put (image, 64, 8, 65536 + 8);
  assert_refused (image, image->bytes->len, SNAP_ERROR_CORRUPT);
  qcow2_image_put (image, 64, 8, 65536 * 3);
  assert_refused (image, image->bytes->len, SNAP_ERROR_CORRUPT);
}

static void
test_rejects_small_extended_clusters (void)
{
  g_autoptr (Qcow2Image) small =
      qcow2_image_new (3, 13, MIB, QCOW2_IMAGE_EXTENDED_L2);
  g_autoptr (Qcow2Image) enough =
      qcow2_image_new (3, 14, MIB, QCOW2_IMAGE_EXTENDED_L2);
  g_autoptr (SnapQcow2Header) header = read_header (enough);

  assert_refused (small, small->bytes->len, SNAP_ERROR_CORRUPT);
}

static void
test_finds_backing_file (void)
{
  g_autoptr (Qcow2Image) image = image_v3 ();
  g_autoptr (SnapQcow2Header) header = NULL;
  guint64 offset = 112;
  guint64 data;

  put_extension (image, &offset, EXTENSION_FEATURES, 48);
  put_extension (image, &offset, 0x12345678, 5);
  data = put_extension (image, &offset, EXTENSION_BACKING_FORMAT, 5);
  qcow2_image_put_text (image, data, "qcow2");
  qcow2_image_put (image, 8, 8, offset);
  qcow2_image_put (image, 16, 4, 6);
  qcow2_image_put_text (image, offset, "ba:e.qNOT");
  header = read_header (image);
  g_assert_cmpstr (header->backing_format, ==, "qcow2");
  g_assert_cmpstr (header->backing_file, ==, "ba:e.q");
}

static void
test_rejects_bad_backing_file (void)
{
  static const struct {
    guint64 offset;
    guint32 length;
  } cases[] = {
    { 104, 5 },   /* inside the header */
    { 65537, 1 }, /* past the first cluster */
    { G_MAXUINT64, 1 },
    { 65530, 7 },   /* ends past it */
    { 1024, 1024 }, /* too long */
    { 1024, G_MAXUINT32 },
    { 1024, 1 }, /* a NUL byte */
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (Qcow2Image) image = image_v3 ();

    memset (image->bytes->data + 1024, 'x', 64000);
    image->bytes->data[1024] = 0;
    qcow2_image_put (image, 8, 8, cases[i].offset);
    qcow2_image_put (image, 16, 4, cases[i].length);
    assert_refused (image, image->bytes->len, SNAP_ERROR_CORRUPT);
  }
}

static void
test_rejects_bad_extensions (void)
{
  static const struct {
    guint32 type, length;
  } cases[] = {
    { EXTENSION_FEATURES, 65536 },    { EXTENSION_FEATURES, G_MAXUINT32 },
    { EXTENSION_BACKING_FORMAT, 16 }, { EXTENSION_BACKING_FORMAT, 3 },
    { EXTENSION_BITMAPS, 16 },        { EXTENSION_BITMAPS, 24 },
    { EXTENSION_BITMAPS, 32 },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (Qcow2Image) image = image_v3 ();
    guint64 offset = 112;

    qcow2_image_put (image, 88, 8, 1);
    put_extension (image, &offset, cases[i].type, cases[i].length);
    assert_refused (image, image->bytes->len, SNAP_ERROR_CORRUPT);
  }
}

static void
test_needs_the_bit_for_a_data_file (void)
{
  g_autoptr (Qcow2Image) image = image_v3 ();
  g_autoptr (SnapQcow2Header) without = NULL;
  g_autoptr (SnapQcow2Header) with = NULL;
  g_autoptr (SnapQcow2Header) unnamed = NULL;
  guint64 offset = 112;

  qcow2_image_put_text (
      image, put_extension (image, &offset, EXTENSION_DATA_FILE, 4), "data");
  without = read_header (image);
  qcow2_image_put (image, 72, 8, 1 << 2);
  with = read_header (image);
  qcow2_image_put (image, 112, 4, EXTENSION_FEATURES);
  unnamed = read_header (image);
  g_assert_null (without->data_file);
  g_assert_cmpstr (with->data_file, ==, "data");
  g_assert_cmpstr (unnamed->data_file, ==, "");
}

static void
put_bitmaps (Qcow2Image *image, guint32 n, guint64 size, guint64 where)
{
  guint64 offset = 112;
  guint64 data = put_extension (image, &offset, EXTENSION_BITMAPS, 24);

  qcow2_image_put (image, data, 4, n);
  qcow2_image_put (image, data + 8, 8, size);
  qcow2_image_put (image, data + 16, 8, where);
}

static void
test_trusts_bitmaps_only_with_the_bit (void)
{
  g_autoptr (Qcow2Image) image = image_v3 ();
  g_autoptr (SnapQcow2Header) stale = NULL;
  g_autoptr (SnapQcow2Header) fresh = NULL;

  put_bitmaps (image, 7, 500, 65536);
  stale = read_header (image);
  qcow2_image_put (image, 88, 8, 1);
  fresh = read_header (image);
  g_assert_true (stale->bitmaps_stale);
  g_assert_cmpuint (stale->n_bitmaps, ==, 0);
  g_assert_false (fresh->bitmaps_stale);
  g_assert_cmpuint (fresh->n_bitmaps, ==, 7);
  g_assert_cmpuint (fresh->bitmaps_size, ==, 500);
  g_assert_cmpuint (fresh->bitmaps_offset, ==, 65536);
}

static void
test_rejects_bad_bitmap_directory (void)
{
  static const struct {
    guint32 n;
    guint64 size, offset;
  } cases[] = {
    { 0, 24, 65536 },
    { 65536, 24, 65536 },
    { 1, 1024 * 65535 + 1, 65536 },
    { 1, 24, 65536 + 8 },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (Qcow2Image) image = image_v3 ();

    qcow2_image_put (image, 88, 8, 1);
    put_bitmaps (image, cases[i].n, cases[i].size, cases[i].offset);
    assert_refused (image, image->bytes->len, SNAP_ERROR_CORRUPT);
  }
}

/* Whatever bit is flipped, the header is either refused or within limits. */
static void
test_survives_every_bit_flip (void)
{
  g_autoptr (Qcow2Image) image = image_v3 ();

  put_bitmaps (image, 7, 500, 65536);
  for (guint bit = 0; bit < 160 * 8; bit++) {
    g_autoptr (SnapReader) reader = NULL;
    g_autoptr (SnapQcow2Header) header = NULL;

    image->bytes->data[bit / 8] ^= (guint8) (1 << bit % 8);
    reader = qcow2_image_reader (image);
    header = snap_qcow2_header_read (reader, NULL);
    if (header != NULL) {
      g_assert_cmpuint (header->cluster_bits, <=, SNAP_QCOW2_MAX_CLUSTER_BITS);
      g_assert_cmpuint (header->size, <=, G_MAXINT64);
      g_assert_cmpuint (header->n_snapshots, <=, SNAP_QCOW2_MAX_SNAPSHOTS);
    }
    image->bytes->data[bit / 8] ^= (guint8) (1 << bit % 8);
  }
}

static void
test_passes_read_errors_on (void)
{
  g_autoptr (Qcow2Image) image = image_v3 ();
  g_autoptr (SnapReader) inner = qcow2_image_reader (image);

  for (guint64 bad = 0; bad < 4096; bad += 50) {
    g_autoptr (SnapReader) reader = snap_reader_new_faulty (inner, bad);
    g_autoptr (GError) error = NULL;

    g_assert_null (snap_qcow2_header_read (reader, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qcow2/header/reads-version-3", test_reads_version_3);
  g_test_add_func ("/qcow2/header/reads-version-2", test_reads_version_2);
  g_test_add_func ("/qcow2/header/rejects-every-truncation",
                   test_rejects_every_truncation);
  g_test_add_func ("/qcow2/header/rejects-fields-out-of-range",
                   test_rejects_fields_out_of_range);
  g_test_add_func ("/qcow2/header/rejects-misplaced-tables",
                   test_rejects_misplaced_tables);
  g_test_add_func ("/qcow2/header/rejects-small-extended-clusters",
                   test_rejects_small_extended_clusters);
  g_test_add_func ("/qcow2/header/finds-backing-file", test_finds_backing_file);
  g_test_add_func ("/qcow2/header/rejects-bad-backing-file",
                   test_rejects_bad_backing_file);
  g_test_add_func ("/qcow2/header/rejects-bad-extensions",
                   test_rejects_bad_extensions);
  g_test_add_func ("/qcow2/header/needs-the-bit-for-a-data-file",
                   test_needs_the_bit_for_a_data_file);
  g_test_add_func ("/qcow2/header/trusts-bitmaps-only-with-the-bit",
                   test_trusts_bitmaps_only_with_the_bit);
  g_test_add_func ("/qcow2/header/rejects-bad-bitmap-directory",
                   test_rejects_bad_bitmap_directory);
  g_test_add_func ("/qcow2/header/survives-every-bit-flip",
                   test_survives_every_bit_flip);
  g_test_add_func ("/qcow2/header/passes-read-errors-on",
                   test_passes_read_errors_on);
  return g_test_run ();
}
