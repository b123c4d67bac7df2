/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checksums: what the standard says, and both ways to them say the same.
 */
#include "config.h"

/* For the way that is not taken here. */
#include "snapshot-core/base/crc32c.c"

/* Bit by bit, as it is defined. */
static guint32
sum_by_definition (guint32 crc, const guint8 *at, gsize length)
{
  for (; length > 0; length--, at++) {
    crc ^= *at;
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
  }
  return crc;
}

static void
test_known_sum (void)
{
  g_assert_cmphex (~snap_crc32c (G_MAXUINT32, "123456789", 9), ==, 0xe3069283);
}

static void
test_all_ways_are_equal (void)
{
  guint8 data[300];

  for (gsize i = 0; i < sizeof data; i++)
    data[i] = (guint8) g_test_rand_int ();
  for (gsize length = 0; length < 64; length++)
    for (gsize offset = 0; offset < 200; offset += 13) {
      guint32 start = (guint32) g_test_rand_int ();
      guint32 right = sum_by_definition (start, data + offset, length);

      g_assert_cmphex (snap_crc32c (start, data + offset, length), ==, right);
      g_assert_cmphex (sum_by_tables (start, data + offset, length), ==, right);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/crc32c/known-sum", test_known_sum);
  g_test_add_func ("/crc32c/all-ways-are-equal", test_all_ways_are_equal);
  return g_test_run ();
}
