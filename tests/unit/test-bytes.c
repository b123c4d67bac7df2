/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/bytes.h"

static const guint8 sample[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

/* An exactly sized heap copy, so that an over-read is seen. */
static guint8 *
sample_copy (gsize length)
{
  return g_memdup2 (sample, length);
}

static void
test_takes_in_byte_order (void)
{
  g_autofree guint8 *data = g_malloc (27);
  SnapBytes in = { .at = data, .left = 27 };

  for (guint8 i = 0; i < 27; i++)
    data[i] = i;
  g_assert_cmphex (snap_bytes_take_u8 (&in), ==, 0x00);
  g_assert_cmphex (snap_bytes_take_be16 (&in), ==, 0x0102);
  g_assert_cmphex (snap_bytes_take_be32 (&in), ==, 0x03040506);
  g_assert_cmphex (snap_bytes_take_be64 (&in), ==, 0x0708090a0b0c0d0e);
  g_assert_cmphex (snap_bytes_take_le32 (&in), ==, 0x1211100f);
  g_assert_cmphex (snap_bytes_take_le64 (&in), ==, 0x1a19181716151413);
  g_assert_cmpuint (in.left, ==, 0);
  g_assert_false (in.failed);
}

static void
test_fails_past_the_end_for_good (void)
{
  g_autofree guint8 *data = sample_copy (3);
  SnapBytes in = { .at = data, .left = 3 };

  g_assert_cmphex (snap_bytes_take_be32 (&in), ==, 0);
  g_assert_true (in.failed);
  g_assert_cmphex (snap_bytes_take_u8 (&in), ==, 0);
  g_assert_null (snap_bytes_take (&in, 1));
  g_assert_null (snap_bytes_take (&in, 0));
  g_assert_true (in.failed);
}

static void
test_every_truncation_fails (void)
{
  for (gsize length = 0; length < 8; length++) {
    g_autofree guint8 *data = sample_copy (length);
    SnapBytes be = { .at = data, .left = length };
    SnapBytes le = { .at = data, .left = length };

    g_assert_cmphex (snap_bytes_take_be64 (&be), ==, 0);
    g_assert_true (be.failed);
    g_assert_cmphex (snap_bytes_take_le64 (&le), ==, 0);
    g_assert_true (le.failed);
  }
}

static void
test_a_huge_length_does_not_wrap (void)
{
  g_autofree guint8 *data = sample_copy (8);
  SnapBytes in = { .at = data, .left = 8 };

  snap_bytes_take_u8 (&in);
  g_assert_null (snap_bytes_take (&in, G_MAXSIZE));
  g_assert_true (in.failed);
}

static void
test_an_empty_buffer_may_be_null (void)
{
  SnapBytes in = { .at = NULL, .left = 0 };

  snap_bytes_take (&in, 0);
  g_assert_false (in.failed);
  snap_bytes_take_u8 (&in);
  g_assert_true (in.failed);
}

static void
test_aligns_from_the_start (void)
{
  g_autofree guint8 *data = sample_copy (10);
  SnapBytes in = { .at = data, .left = 10 };

  snap_bytes_align (&in, data, 8);
  g_assert_cmpuint (in.left, ==, 10);
  snap_bytes_take_u8 (&in);
  snap_bytes_align (&in, data, 8);
  g_assert_cmpuint (snap_bytes_take_u8 (&in), ==, 9);
  g_assert_false (in.failed);
  snap_bytes_align (&in, data, 8); /* 16 is past the end */
  g_assert_true (in.failed);
}

static void
test_reads_unaligned_array_elements (void)
{
  g_assert_cmphex (snap_bytes_be64_at (sample + 1, 0), ==, 0x0203040506070809);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/bytes/takes-in-byte-order", test_takes_in_byte_order);
  g_test_add_func ("/bytes/fails-past-the-end-for-good",
                   test_fails_past_the_end_for_good);
  g_test_add_func ("/bytes/every-truncation-fails",
                   test_every_truncation_fails);
  g_test_add_func ("/bytes/a-huge-length-does-not-wrap",
                   test_a_huge_length_does_not_wrap);
  g_test_add_func ("/bytes/an-empty-buffer-may-be-null",
                   test_an_empty_buffer_may_be_null);
  g_test_add_func ("/bytes/aligns-from-the-start", test_aligns_from_the_start);
  g_test_add_func ("/bytes/reads-unaligned-array-elements",
                   test_reads_unaligned_array_elements);
  return g_test_run ();
}
