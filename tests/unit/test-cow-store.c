/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/cow-store.h"

#define CHUNK 4096
#define PER_AREA (CHUNK / 16)
#define MAGIC 0x70416e53

/* A store of these old chunks in this order, in an image of @n_chunks. */
static SnapReader *
make_store (const guint64 *old, gsize n, gsize n_chunks, guint32 valid)
{
  g_autofree guint8 *image = g_malloc0 (n_chunks * CHUNK);
  const guint32 header[] = { GUINT32_TO_LE (MAGIC), GUINT32_TO_LE (valid),
                             GUINT32_TO_LE (1), GUINT32_TO_LE (CHUNK / 512) };
  g_autoptr (GBytes) bytes = NULL;

  memcpy (image, header, sizeof header);
  for (gsize i = 0; i < n; i++) {
    gsize area = 1 + (PER_AREA + 1) * (i / PER_AREA);
    const guint64 entry[] = { GUINT64_TO_LE (old[i]),
                              GUINT64_TO_LE (area + 1 + i % PER_AREA) };

    memcpy (image + area * CHUNK + i % PER_AREA * 16, entry, sizeof entry);
  }
  bytes = g_bytes_new (image, n_chunks * CHUNK);
  return snap_reader_new_memory (bytes);
}

static GArray *
read_all (SnapReader *reader, guint64 limit, GError **error)
{
  g_autoptr (SnapCowStore) store = snap_cow_store_open (reader, "cow", error);

  return store != NULL ? snap_cow_store_read (store, limit, error) : NULL;
}

static void
assert_chunks (const GArray *chunks, const guint64 *expected, gsize n)
{
  if (chunks == NULL)
    abort ();
  g_assert_cmpmem (chunks->data, chunks->len * sizeof (guint64), expected,
                   n * sizeof (guint64));
}

static void
test_sorts_the_entries (void)
{
  const guint64 old[] = { 10, 100, 2, 12 };
  const guint64 sorted[] = { 2, 10, 12, 100 };
  g_autoptr (SnapReader) reader = make_store (old, 4, 300, 1);
  g_autoptr (GArray) chunks = read_all (reader, G_MAXUINT64, NULL);

  assert_chunks (chunks, sorted, 4);
}

static void
test_a_watermark_takes_the_first_entries (void)
{
  const guint64 old[] = { 10, 100, 2, 12 };
  const guint64 sorted[] = { 10, 100 };
  g_autoptr (SnapReader) reader = make_store (old, 4, 300, 1);
  g_autoptr (GArray) chunks = read_all (reader, 2, NULL);
  g_autoptr (GArray) none = read_all (reader, 0, NULL);
  g_autoptr (GError) error = NULL;

  assert_chunks (chunks, sorted, 2);
  assert_chunks (none, sorted, 0);
  g_assert_null (read_all (reader, 5, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
}

static void
test_a_full_area_continues_in_the_next (void)
{
  guint64 old[2 * PER_AREA + 1];
  gsize counts[] = { PER_AREA - 1, PER_AREA, PER_AREA + 1, 2 * PER_AREA,
                     2 * PER_AREA + 1 };

  for (gsize i = 0; i < G_N_ELEMENTS (old); i++)
    old[i] = 3 * i;
  for (gsize i = 0; i < G_N_ELEMENTS (counts); i++) {
    g_autoptr (SnapReader) reader =
        make_store (old, counts[i], 3 * (PER_AREA + 2), 1);
    g_autoptr (GArray) chunks = read_all (reader, G_MAXUINT64, NULL);

    assert_chunks (chunks, old, counts[i]);
  }
}

static void
test_a_store_that_ends_with_its_device_is_whole (void)
{
  guint64 old[PER_AREA];
  g_autoptr (SnapReader) reader = NULL;
  g_autoptr (GArray) chunks = NULL;

  for (gsize i = 0; i < PER_AREA; i++)
    old[i] = i;
  reader = make_store (old, PER_AREA, PER_AREA + 2, 1);
  chunks = read_all (reader, G_MAXUINT64, NULL);
  assert_chunks (chunks, old, PER_AREA);
}

static void
test_an_overflow_is_no_base (void)
{
  const guint64 old[] = { 1 };
  g_autoptr (SnapReader) reader = make_store (old, 1, 300, 0);
  g_autoptr (GError) error = NULL;

  g_assert_null (read_all (reader, G_MAXUINT64, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
}

static void
test_emits_inside_the_range_only (void)
{
  const guint64 old[] = { 0, 1, 3, 9 };
  g_autoptr (SnapReader) reader = make_store (old, 4, 300, 1);
  g_autoptr (SnapCowStore) store = snap_cow_store_open (reader, "cow", NULL);
  g_autoptr (GArray) chunks = snap_cow_store_read (store, G_MAXUINT64, NULL);
  g_autoptr (SnapExtents) extents = snap_extents_new ();

  g_assert_true (snap_cow_store_emit (store, chunks, 100, 3 * CHUNK + 10,
                                      snap_extents_append_func, extents, NULL));
  g_assert_cmpuint (snap_extents_n (extents), ==, 2);
  g_assert_cmpuint (snap_extents_at (extents, 0)->offset, ==, 100);
  g_assert_cmpuint (snap_extents_at (extents, 0)->length, ==, 2 * CHUNK - 100);
  g_assert_cmpuint (snap_extents_at (extents, 1)->offset, ==, 3 * CHUNK);
  g_assert_cmpuint (snap_extents_at (extents, 1)->length, ==, 10);
  g_assert_cmpuint (snap_extents_at (extents, 1)->flags, ==, SNAP_EXTENT_DIRTY);
}

static void
assert_corrupt (gsize at, guint32 value)
{
  const guint64 old[] = { 5, 6 };
  g_autoptr (SnapReader) good = make_store (old, 2, 300, 1);
  g_autofree guint8 *image = g_malloc (good->size);
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (SnapReader) bad = NULL;
  g_autoptr (GError) error = NULL;

  snap_reader_read (good, 0, image, good->size, NULL);
  value = GUINT32_TO_LE (value);
  memcpy (image + at, &value, sizeof value);
  bytes = g_bytes_new (image, good->size);
  bad = snap_reader_new_memory (bytes);
  g_assert_null (read_all (bad, G_MAXUINT64, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "cow: "));
}

static void
test_refuses_what_is_no_store (void)
{
  assert_corrupt (0, 1);                   /* magic */
  assert_corrupt (8, 2);                   /* version */
  assert_corrupt (12, 0);                  /* chunk size */
  assert_corrupt (12, 7);                  /* below a page */
  assert_corrupt (12, 24);                 /* no power of two */
  assert_corrupt (12, G_MAXUINT32);        /* huge */
  assert_corrupt (CHUNK + 4, G_MAXUINT32); /* old chunk */
  assert_corrupt (CHUNK + 8, 300);         /* new chunk */
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cow-store/sorts-the-entries", test_sorts_the_entries);
  g_test_add_func ("/cow-store/a-watermark-takes-the-first-entries",
                   test_a_watermark_takes_the_first_entries);
  g_test_add_func ("/cow-store/a-full-area-continues-in-the-next",
                   test_a_full_area_continues_in_the_next);
  g_test_add_func ("/cow-store/a-store-that-ends-with-its-device-is-whole",
                   test_a_store_that_ends_with_its_device_is_whole);
  g_test_add_func ("/cow-store/an-overflow-is-no-base",
                   test_an_overflow_is_no_base);
  g_test_add_func ("/cow-store/emits-inside-the-range-only",
                   test_emits_inside_the_range_only);
  g_test_add_func ("/cow-store/refuses-what-is-no-store",
                   test_refuses_what_is_no_store);
  return g_test_run ();
}
