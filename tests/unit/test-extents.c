/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extent lists against an oracle: one cell a byte, which is absent or has
 * flags.  Random lists; the seed is what g_test prints (--seed repeats it).
 */
#include "config.h"

#include "snapshot-core/base/extents.h"

#include <string.h>

#define N_ROUNDS 3000
#define MAX_CELLS 120
#define ABSENT 0xff
#define ALL_FLAGS (SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO | SNAP_EXTENT_DIRTY)

typedef struct {
  guint8 cell[MAX_CELLS];
} Cells;

static gsize
random_below (gsize end)
{
  return (gsize) g_test_rand_int_range (0, (gint32) end);
}

/* Runs of random lengths, mostly of few kinds, so that neighbours often touch
   and often are equal. */
static Cells
random_cells (void)
{
  static const guint8 kinds[] = { ABSENT, ABSENT, 0, 1, 2, 3, 4, 6, 7 };
  Cells cells;

  memset (&cells, ABSENT, sizeof cells);
  for (gsize at = 0; at < MAX_CELLS;) {
    gsize wanted = 1 + random_below (12);
    gsize length = MIN (wanted, MAX_CELLS - at);

    memset (cells.cell + at, kinds[random_below (G_N_ELEMENTS (kinds))],
            length);
    at += length;
  }
  return cells;
}

/* Appends in random pieces: the list must not show them. */
static SnapExtents *
list_from_cells (const Cells *cells)
{
  SnapExtents *list = snap_extents_new ();

  for (gsize at = 0; at < MAX_CELLS;) {
    gsize most = 1 + random_below (5), length = 1;

    while (length < most && at + length < MAX_CELLS
           && cells->cell[at + length] == cells->cell[at])
      length++;
    if (cells->cell[at] != ABSENT)
      snap_extents_append (list, at, length, cells->cell[at]);
    at += length;
  }
  return list;
}

/* Checks on the way that the list is sorted, coalesced and inside. */
static Cells
cells_from_list (const SnapExtents *list)
{
  Cells cells;
  const SnapExtent *previous = NULL;

  memset (&cells, ABSENT, sizeof cells);
  for (gsize i = 0; i < snap_extents_n (list); i++) {
    const SnapExtent *extent = snap_extents_at (list, i);

    g_assert_cmpuint (extent->length, >, 0);
    g_assert_cmpuint (extent->offset, <, MAX_CELLS);
    g_assert_cmpuint (extent->length, <=, MAX_CELLS - extent->offset);
    if (previous != NULL) {
      guint64 end = previous->offset + previous->length;

      g_assert_cmpuint (end, <=, extent->offset);
      g_assert_false (end == extent->offset
                      && previous->flags == extent->flags);
    }
    memset (cells.cell + extent->offset, (int) extent->flags, extent->length);
    previous = extent;
  }
  return cells;
}

static void
assert_list (const SnapExtents *list, const Cells *expected)
{
  Cells cells = cells_from_list (list);

  g_assert_cmpmem (cells.cell, MAX_CELLS, expected->cell, MAX_CELLS);
}

/* ---- one list ---- */

static void
test_append_coalesces (void)
{
  for (int round = 0; round < N_ROUNDS; round++) {
    Cells cells = random_cells ();
    g_autoptr (SnapExtents) list = list_from_cells (&cells);

    assert_list (list, &cells);
  }
}

static void
test_append_ignores_nothing (void)
{
  g_autoptr (SnapExtents) list = snap_extents_new ();

  g_assert_cmpuint (snap_extents_end (list), ==, 0);
  snap_extents_append (list, 7, 0, 0);
  g_assert_cmpuint (snap_extents_n (list), ==, 0);
  g_assert_true (
      snap_extents_append_func (&(SnapExtent){ 5, 2, 1 }, list, NULL));
  g_assert_cmpuint (snap_extents_n (list), ==, 1);
  g_assert_cmpuint (snap_extents_end (list), ==, 7);
}

/* A caller's bug is reported, and does not harm the list. */
static void
assert_append_refused (guint64 offset, guint64 length)
{
  g_autoptr (SnapExtents) list = snap_extents_new ();

  snap_extents_append (list, 0, 10, 0);
  g_test_expect_message (G_LOG_DOMAIN, G_LOG_LEVEL_CRITICAL, "*assertion*");
  snap_extents_append (list, offset, length, 0);
  g_test_assert_expected_messages ();
  g_assert_cmpuint (snap_extents_end (list), ==, 10);
}

static void
test_append_refuses_bugs (void)
{
  assert_append_refused (9, 1);
  assert_append_refused (0, 1);
  assert_append_refused (G_MAXUINT64, 1);
  assert_append_refused (10, G_MAXUINT64 - 9);
}

static void
test_bytes_counts_cells (void)
{
  for (int round = 0; round < N_ROUNDS; round++) {
    Cells cells = random_cells ();
    g_autoptr (SnapExtents) list = list_from_cells (&cells);

    for (guint32 flags = 0; flags <= ALL_FLAGS; flags++) {
      guint64 expected = 0;

      for (gsize i = 0; i < MAX_CELLS; i++)
        expected += cells.cell[i] != ABSENT && (cells.cell[i] & flags) == flags;
      g_assert_cmpuint (snap_extents_bytes (list, flags), ==, expected);
    }
  }
}

static gsize
find_one_by_one (const SnapExtents *list, guint64 offset)
{
  for (gsize i = 0; i < snap_extents_n (list); i++) {
    const SnapExtent *extent = snap_extents_at (list, i);

    if (extent->offset + extent->length > offset)
      return i;
  }
  return snap_extents_n (list);
}

static void
test_find_is_the_first_that_ends_after (void)
{
  for (int round = 0; round < N_ROUNDS / 10; round++) {
    Cells cells = random_cells ();
    g_autoptr (SnapExtents) list = list_from_cells (&cells);

    for (guint64 offset = 0; offset < MAX_CELLS + 2; offset++)
      g_assert_cmpuint (snap_extents_find (list, offset), ==,
                        find_one_by_one (list, offset));
    g_assert_cmpuint (snap_extents_find (list, G_MAXUINT64), ==,
                      snap_extents_n (list));
  }
}

static void
test_clip_keeps_what_is_inside (void)
{
  for (int round = 0; round < N_ROUNDS; round++) {
    Cells cells = random_cells ();
    g_autoptr (SnapExtents) list = list_from_cells (&cells);
    gsize offset = random_below (MAX_CELLS + 1);
    gsize length = random_below (MAX_CELLS + 1);
    g_autoptr (SnapExtents) clipped = snap_extents_clip (list, offset, length);
    g_autoptr (SnapExtents) tail =
        snap_extents_clip (list, offset, G_MAXUINT64);

    memset (cells.cell, ABSENT, offset);
    assert_list (tail, &cells);
    for (gsize i = offset + length; i < MAX_CELLS; i++)
      cells.cell[i] = ABSENT;
    assert_list (clipped, &cells);
  }
}

/* ---- align ---- */

static Cells
align_cells (const Cells *cells, gsize granularity, gsize size)
{
  Cells result;

  memset (&result, ABSENT, sizeof result);
  for (gsize start = 0; start < size; start += granularity) {
    gsize end = MIN (start + granularity, size);
    guint8 all = ALL_FLAGS, any = 0;
    gboolean touched = FALSE;

    for (gsize i = start; i < end; i++) {
      guint8 flags = cells->cell[i] == ABSENT ? 0 : cells->cell[i];

      touched = touched || cells->cell[i] != ABSENT;
      all &= flags;
      any |= flags;
    }
    if (touched)
      memset (result.cell + start, all | (any & SNAP_EXTENT_DIRTY),
              end - start);
  }
  return result;
}

static void
test_align_weakens_flags_by_granule (void)
{
  for (int round = 0; round < N_ROUNDS * 3; round++) {
    Cells cells = random_cells ();
    g_autoptr (SnapExtents) list = list_from_cells (&cells);
    gsize granularity = 1 + random_below (20);
    gsize size = random_below (MAX_CELLS + 1);
    g_autoptr (SnapExtents) aligned =
        snap_extents_align (list, granularity, size);
    Cells expected = align_cells (&cells, granularity, size);

    assert_list (aligned, &expected);
  }
}

static void
test_align_takes_the_time_of_its_extents (void)
{
  g_autoptr (SnapExtents) list = snap_extents_new ();
  g_autoptr (SnapExtents) aligned = NULL;

  snap_extents_append (list, 1, G_MAXUINT64 - 1, SNAP_EXTENT_DIRTY);
  aligned = snap_extents_align (list, 512, G_MAXUINT64);
  g_assert_cmpuint (snap_extents_n (aligned), ==, 1);
  g_assert_cmpuint (snap_extents_at (aligned, 0)->offset, ==, 0);
  g_assert_cmpuint (snap_extents_end (aligned), ==, G_MAXUINT64);
}

static void
test_align_does_not_wrap_at_the_end (void)
{
  guint64 size = G_MAXUINT64 - 100;
  g_autoptr (SnapExtents) list = snap_extents_new ();
  g_autoptr (SnapExtents) aligned = NULL;

  snap_extents_append (list, size - 1, 50, SNAP_EXTENT_DIRTY);
  aligned = snap_extents_align (list, G_GUINT64_CONSTANT (1) << 63, size);
  g_assert_cmpuint (snap_extents_n (aligned), ==, 1);
  g_assert_cmpuint (snap_extents_at (aligned, 0)->offset, ==,
                    G_GUINT64_CONSTANT (1) << 63);
  g_assert_cmpuint (snap_extents_end (aligned), ==, size);
}

/* ---- two lists ---- */

static gboolean
same_at (const Cells *a, const Cells *b, gsize i, gsize j)
{
  return a->cell[i] == a->cell[j] && b->cell[i] == b->cell[j];
}

static void
assert_step (const SnapExtentsPair *pair, const Cells *a, const Cells *b)
{
  gsize end = pair->offset + pair->length;

  g_assert_cmpuint (pair->length, >, 0);
  g_assert_cmpuint (end, <=, MAX_CELLS);
  g_assert_true (pair->has_a || pair->has_b);
  for (gsize i = pair->offset; i < end; i++) {
    g_assert_cmphex (a->cell[i], ==, pair->has_a ? pair->flags_a : ABSENT);
    g_assert_cmphex (b->cell[i], ==, pair->has_b ? pair->flags_b : ABSENT);
  }
  if (end < MAX_CELLS)
    g_assert_false (same_at (a, b, end - 1, end));
}

static void
test_pair_covers_both_in_longest_steps (void)
{
  for (int round = 0; round < N_ROUNDS; round++) {
    Cells a = random_cells (), b = random_cells ();
    g_autoptr (SnapExtents) list_a = list_from_cells (&a);
    g_autoptr (SnapExtents) list_b = list_from_cells (&b);
    SnapExtentsPair pair;
    guint64 at = 0;

    snap_extents_pair_init (&pair, list_a, list_b);
    while (snap_extents_pair_next (&pair)) {
      for (; at < pair.offset; at++)
        g_assert_true (a.cell[at] == ABSENT && b.cell[at] == ABSENT);
      g_assert_cmpuint (pair.offset, ==, at);
      assert_step (&pair, &a, &b);
      at += pair.length;
    }
    for (; at < MAX_CELLS; at++)
      g_assert_true (a.cell[at] == ABSENT && b.cell[at] == ABSENT);
  }
}

static void
test_union_and_intersection_agree_with_cells (void)
{
  for (int round = 0; round < N_ROUNDS; round++) {
    Cells a = random_cells (), b = random_cells ();
    g_autoptr (SnapExtents) list_a = list_from_cells (&a);
    g_autoptr (SnapExtents) list_b = list_from_cells (&b);
    g_autoptr (SnapExtents) either = snap_extents_union (list_a, list_b);
    g_autoptr (SnapExtents) both = snap_extents_intersect (list_a, list_b);
    Cells either_cells, both_cells;

    for (gsize i = 0; i < MAX_CELLS; i++) {
      gboolean in_a = a.cell[i] != ABSENT, in_b = b.cell[i] != ABSENT;
      guint8 flags = (in_a ? a.cell[i] : 0) | (in_b ? b.cell[i] : 0);

      either_cells.cell[i] = in_a || in_b ? flags : ABSENT;
      both_cells.cell[i] = in_a && in_b ? flags : ABSENT;
    }
    assert_list (either, &either_cells);
    assert_list (both, &both_cells);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/extents/append/coalesces-what-touches",
                   test_append_coalesces);
  g_test_add_func ("/extents/append/ignores-an-empty-range",
                   test_append_ignores_nothing);
  g_test_add_func ("/extents/append/refuses-overlap-and-wrapping",
                   test_append_refuses_bugs);
  g_test_add_func ("/extents/bytes/counts-every-matching-byte",
                   test_bytes_counts_cells);
  g_test_add_func ("/extents/find/is-the-first-that-ends-after",
                   test_find_is_the_first_that_ends_after);
  g_test_add_func ("/extents/clip/keeps-what-is-inside",
                   test_clip_keeps_what_is_inside);
  g_test_add_func ("/extents/align/weakens-flags-by-granule",
                   test_align_weakens_flags_by_granule);
  g_test_add_func ("/extents/align/takes-the-time-of-its-extents",
                   test_align_takes_the_time_of_its_extents);
  g_test_add_func ("/extents/align/does-not-wrap-at-the-end",
                   test_align_does_not_wrap_at_the_end);
  g_test_add_func ("/extents/pair/covers-both-in-longest-steps",
                   test_pair_covers_both_in_longest_steps);
  g_test_add_func ("/extents/union-and-intersection-agree-with-cells",
                   test_union_and_intersection_agree_with_cells);
  return g_test_run ();
}
