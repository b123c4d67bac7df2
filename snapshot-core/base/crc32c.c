/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78 /* reflected */

/* How many bytes a step takes: one table for each. */
#define STRIDE 8

static guint32 tables[STRIDE][256];

static void
fill_tables (void)
{
  for (guint32 byte = 0; byte < 256; byte++) {
    guint32 crc = byte;

    for (int bit = 0; bit < 8; bit++)
      crc = (crc & 1) != 0 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
    tables[0][byte] = crc;
  }
  for (int n = 1; n < STRIDE; n++)
    for (int byte = 0; byte < 256; byte++) {
      guint32 crc = tables[n - 1][byte];

      tables[n][byte] = crc >> 8 ^ tables[0][crc & 0xff];
    }
}

static guint32
step (guint32 crc, const guint8 *at)
{
  guint64 word;

  memcpy (&word, at, sizeof word);
  word = GUINT64_FROM_LE (word) ^ crc;
  crc = 0;
  for (int n = 0; n < STRIDE; n++)
    crc ^= tables[STRIDE - 1 - n][word >> (8 * n) & 0xff];
  return crc;
}

static guint32
sum_by_tables (guint32 crc, const guint8 *at, gsize length)
{
  static gsize once = 0;

  if (g_once_init_enter (&once)) {
    fill_tables ();
    g_once_init_leave (&once, 1);
  }
  for (; length >= STRIDE; length -= STRIDE, at += STRIDE)
    crc = step (crc, at);
  for (; length > 0; length--, at++)
    crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xff];
  return crc;
}

/* ---- where the processor does it: three to five times as fast ---- */

#ifdef __x86_64__

__attribute__ ((target ("sse4.2"))) static guint32
sum_by_processor (guint32 crc, const guint8 *at, gsize length)
{
  guint64 sum = crc;

  for (; length >= STRIDE; length -= STRIDE, at += STRIDE) {
    guint64 word;

    memcpy (&word, at, sizeof word);
    sum = __builtin_ia32_crc32di (sum, word);
  }
  for (; length > 0; length--, at++)
    sum = __builtin_ia32_crc32qi ((guint32) sum, *at);
  return (guint32) sum;
}

guint32
snap_crc32c (guint32 crc, const void *data, gsize length)
{
  return __builtin_cpu_supports ("sse4.2")
             ? sum_by_processor (crc, data, length)
             : sum_by_tables (crc, data, length);
}

#else

guint32
snap_crc32c (guint32 crc, const void *data, gsize length)
{
  return sum_by_tables (crc, data, length);
}

#endif
