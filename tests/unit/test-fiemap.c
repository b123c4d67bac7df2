/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <linux/fiemap.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/fiemap.h"

#define K 4096

typedef struct {
  SnapFiemap parent;
  const SnapFiemapExtent *extents; /* ends with one of no length */
} ListMap;

static gboolean
list_next (SnapFiemap *map, SnapFiemapExtent *extent, gboolean *more,
           GError **error)
{
  ListMap *self = (ListMap *) map;

  *more = self->extents->length != 0;
  if (*more)
    *extent = *self->extents++;
  return TRUE;
}

static const SnapFiemapOps list_ops = { .next = list_next };

/* What differs, in [0, size). */
static SnapExtents *
compare (const SnapFiemapExtent *from, guint64 from_size,
         const SnapFiemapExtent *to, guint64 size, GError **error)
{
  ListMap from_map = { { &list_ops }, from };
  ListMap to_map = { { &list_ops }, to };
  SnapExtents *dirty = snap_extents_new ();

  if (snap_fiemap_compare (&from_map.parent, from_size, &to_map.parent, 0, size,
                           snap_extents_append_func, dirty, error))
    return dirty;
  snap_extents_unref (dirty);
  return NULL;
}

static void
assert_dirty (const SnapFiemapExtent *from, const SnapFiemapExtent *to,
              guint64 offset, guint64 length, guint32 flags)
{
  GError *error = NULL;
  g_autoptr (SnapExtents) dirty =
      compare (from, G_MAXUINT64, to, 16 * K, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (snap_extents_n (dirty), ==, length > 0);
  if (length == 0)
    return;
  g_assert_cmpuint (snap_extents_at (dirty, 0)->offset, ==, offset);
  g_assert_cmpuint (snap_extents_at (dirty, 0)->length, ==, length);
  g_assert_cmpuint (snap_extents_at (dirty, 0)->flags, ==,
                    SNAP_EXTENT_DIRTY | flags);
}

static const SnapFiemapExtent whole[] = { { 0, 100 * K, 16 * K, 0 }, { 0 } };
static const SnapFiemapExtent nothing[] = { { 0 } };

static void
test_one_place_is_the_same_however_it_is_cut (void)
{
  static const SnapFiemapExtent parts[] = {
    { 0, 100 * K, K, FIEMAP_EXTENT_SHARED },
    { K, 101 * K, 10 * K, 0 },
    { 11 * K, 111 * K, 5 * K, FIEMAP_EXTENT_LAST },
    { 0 }
  };

  assert_dirty (whole, parts, 0, 0, 0);
  assert_dirty (parts, whole, 0, 0, 0);
}

static void
test_another_place_is_dirty_exactly_there (void)
{
  static const SnapFiemapExtent moved[] = { { 0, 100 * K, 3 * K, 0 },
                                            { 3 * K, 500 * K, 2 * K, 0 },
                                            { 5 * K, 105 * K, 11 * K, 0 },
                                            { 0 } };

  assert_dirty (whole, moved, 3 * K, 2 * K, 0);
}

static void
test_one_place_at_another_offset_is_dirty (void)
{
  static const SnapFiemapExtent shifted[] = { { K, 100 * K, 15 * K, 0 },
                                              { 0 } };

  g_autoptr (SnapExtents) dirty =
      compare (whole, G_MAXUINT64, shifted, 16 * K, NULL);

  g_assert_cmpuint (snap_extents_bytes (dirty, 0), ==, 16 * K);
}

static void
test_a_hole_is_dirty_and_zero (void)
{
  static const SnapFiemapExtent holed[] = { { 0, 100 * K, 4 * K, 0 },
                                            { 9 * K, 109 * K, 7 * K, 0 },
                                            { 0 } };

  assert_dirty (whole, holed, 4 * K, 5 * K, SNAP_EXTENT_ZERO);
  assert_dirty (holed, whole, 4 * K, 5 * K, 0);
}

static void
test_a_hole_equals_what_is_unwritten (void)
{
  static const SnapFiemapExtent unwritten[] = {
    { 0, 300 * K, 16 * K, FIEMAP_EXTENT_UNWRITTEN }, { 0 }
  };
  static const SnapFiemapExtent elsewhere[] = {
    { 0, 700 * K, 16 * K, FIEMAP_EXTENT_UNWRITTEN }, { 0 }
  };

  assert_dirty (nothing, unwritten, 0, 0, 0);
  assert_dirty (unwritten, nothing, 0, 0, 0);
  assert_dirty (unwritten, elsewhere, 0, 0, 0);
  assert_dirty (whole, unwritten, 0, 16 * K, SNAP_EXTENT_ZERO);
}

/* Written to in place: what was unwritten and is data now. */
static void
test_the_same_place_written_is_dirty (void)
{
  static const SnapFiemapExtent unwritten[] = {
    { 0, 100 * K, 16 * K, FIEMAP_EXTENT_UNWRITTEN }, { 0 }
  };

  assert_dirty (unwritten, whole, 0, 16 * K, 0);
}

/* Every flag but the harmless ones, known today or not. */
static void
test_any_other_flag_makes_a_place_doubtful (void)
{
  const guint32 harmless = FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_UNWRITTEN
                           | FIEMAP_EXTENT_MERGED | FIEMAP_EXTENT_SHARED;

  for (guint bit = 0; bit < 32; bit++) {
    const guint32 flag = (guint32) 1 << bit;
    const SnapFiemapExtent doubtful[] = { { 0, 100 * K, 16 * K, flag }, { 0 } };

    if ((flag & harmless) != 0)
      continue;
    assert_dirty (doubtful, doubtful, 0, 16 * K, 0);
    assert_dirty (whole, doubtful, 0, 16 * K, 0);
    assert_dirty (doubtful, whole, 0, 16 * K, 0);
  }
}

static void
test_past_the_older_size_all_is_dirty (void)
{
  static const SnapFiemapExtent half[] = { { 0, 100 * K, 8 * K, 0 }, { 0 } };
  g_autoptr (SnapExtents) grown = compare (half, 4 * K, half, 16 * K, NULL);

  g_assert_cmpuint (snap_extents_n (grown), ==, 2);
  g_assert_cmpuint (snap_extents_at (grown, 0)->offset, ==, 4 * K);
  g_assert_cmpuint (snap_extents_at (grown, 0)->flags, ==, SNAP_EXTENT_DIRTY);
  g_assert_cmpuint (snap_extents_at (grown, 1)->offset, ==, 8 * K);
  g_assert_cmpuint (snap_extents_bytes (grown, SNAP_EXTENT_ZERO), ==, 8 * K);
}

static void
test_a_broken_map_is_refused (void)
{
  static const SnapFiemapExtent broken[][3] = {
    { { K, 0, 2 * K, 0 }, { 0, 0, K, 0 }, { 0 } },
    { { 0, 0, 2 * K, 0 }, { K, 0, 2 * K, 0 }, { 0 } },
    { { 0, G_MAXUINT64, 2 * K, 0 }, { 0 } },
    { { G_MAXUINT64, 0, 2, 0 }, { 0 } },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (broken); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (compare (broken[i], G_MAXUINT64, nothing, 16 * K, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fiemap/one-place-is-the-same-however-it-is-cut",
                   test_one_place_is_the_same_however_it_is_cut);
  g_test_add_func ("/fiemap/another-place-is-dirty-exactly-there",
                   test_another_place_is_dirty_exactly_there);
  g_test_add_func ("/fiemap/one-place-at-another-offset-is-dirty",
                   test_one_place_at_another_offset_is_dirty);
  g_test_add_func ("/fiemap/a-hole-is-dirty-and-zero",
                   test_a_hole_is_dirty_and_zero);
  g_test_add_func ("/fiemap/a-hole-equals-what-is-unwritten",
                   test_a_hole_equals_what_is_unwritten);
  g_test_add_func ("/fiemap/the-same-place-written-is-dirty",
                   test_the_same_place_written_is_dirty);
  g_test_add_func ("/fiemap/any-other-flag-makes-a-place-doubtful",
                   test_any_other_flag_makes_a_place_doubtful);
  g_test_add_func ("/fiemap/past-the-older-size-all-is-dirty",
                   test_past_the_older_size_all_is_dirty);
  g_test_add_func ("/fiemap/a-broken-map-is-refused",
                   test_a_broken_map_is_refused);
  return g_test_run ();
}
