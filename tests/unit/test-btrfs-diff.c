/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/error.h"
#include "tests/unit/btrfs-model.h"

/* Two snapshots of one file; the older was cut in generation CUT. */
#define CUT 10

static SnapExtents *
run_diff (Model *from, Model *to, guint64 since, gboolean from_is_newer,
          SnapBtrfsMethod *method)
{
  const SnapBtrfsDiff diff = {
    .from = model_side (from),
    .to = model_side (to),
    .granularity = MODEL_BLOCK,
    .since = since,
    .from_is_newer = from_is_newer,
  };
  GError *error = NULL;
  SnapExtents *dirty = snap_btrfs_diff (&diff, 0, to->size, method, &error);

  g_assert_no_error (error);
  return dirty;
}

static gboolean
covers (const SnapExtents *list, guint64 offset, guint32 *flags)
{
  gsize index = snap_extents_find (list, offset);

  if (index == snap_extents_n (list)
      || snap_extents_at (list, index)->offset > offset)
    return FALSE;
  *flags = snap_extents_at (list, index)->flags;
  return TRUE;
}

/* Block by block: nothing missed, nothing invented. */
static void
assert_true_diff (const Model *from, const Model *to, const SnapExtents *dirty)
{
  for (guint64 block = 0; block * MODEL_BLOCK < to->size; block++) {
    guint64 offset = block * MODEL_BLOCK;
    guint64 before = model_content (from, block);
    guint64 after = model_content (to, block);
    gboolean is_new =
        offset + MODEL_BLOCK > from->size && from->size < to->size;
    guint32 flags = 0;

    g_assert_cmpint (covers (dirty, offset, &flags), ==,
                     before != after || is_new);
    if ((flags & SNAP_EXTENT_DIRTY) != 0)
      g_assert_cmpint ((flags & SNAP_EXTENT_ZERO) != 0, ==, after == 0);
  }
  g_assert_cmpuint (snap_extents_end (dirty), <=, to->size);
}

/* Both directions; the method that was used from the older to the newer. */
static SnapBtrfsMethod
check (Model *older, Model *newer)
{
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) dirty =
      run_diff (older, newer, CUT + 1, FALSE, &method);
  g_autoptr (SnapExtents) reverse =
      run_diff (newer, older, CUT + 1, TRUE, NULL);

  assert_true_diff (older, newer, dirty);
  assert_true_diff (newer, older, reverse);
  return method;
}

/* A file of single blocks, and the point at which a new generation begins. */
static Model *
make_older (guint64 n_blocks)
{
  Model *self = model_new ();

  for (guint64 block = 0; block < n_blocks; block++)
    model_write (self, block, 1);
  self->generation = CUT + 1;
  return self;
}

/* ---- tests ---- */

static void
test_a_write_is_found_by_its_leaf (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = model_snapshot (older);

  model_write (newer, 77, 2);
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_CANDIDATES);
}

static void
test_nothing_changed_is_nothing_searched (void)
{
  g_autoptr (Model) older = make_older (2000);
  g_autoptr (Model) newer = model_snapshot (older);
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) dirty =
      run_diff (older, newer, CUT + 1, FALSE, &method);

  g_assert_cmpuint (snap_extents_n (dirty), ==, 0);
  g_assert_cmpint (method, ==, SNAP_BTRFS_BY_CANDIDATES);
  g_assert_cmpint (older->n_searches + newer->n_searches, ==, 1);
}

static void
test_a_hole_that_leaves_no_item_is_found (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = model_snapshot (older);

  model_punch (newer, 100, 41);
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_CANDIDATES);
}

static void
test_a_hole_item_is_found (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = model_snapshot (older);

  model_put_hole (newer, 100, 41);
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_CANDIDATES);
}

static guint
count_searches (Model *older, Model *newer)
{
  older->n_searches = newer->n_searches = 0;
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_CANDIDATES);
  return (guint) older->n_searches;
}

/* However many extents were in it, and in whichever order it is asked. */
static void
test_a_hole_in_a_full_file_is_told_without_them (void)
{
  static const guint64 lengths[] = { 30, 300, 2000 };
  guint n_searches[G_N_ELEMENTS (lengths)];

  for (gsize i = 0; i < G_N_ELEMENTS (lengths); i++) {
    g_autoptr (Model) older = make_older (3000);
    g_autoptr (Model) newer = NULL;

    older->max_batch = 10;
    newer = model_snapshot (older);
    model_punch (newer, 304, lengths[i]);
    n_searches[i] = count_searches (older, newer);
  }
  g_assert_cmpuint (n_searches[1], <=, n_searches[0] + 2);
  g_assert_cmpuint (n_searches[2], <=, n_searches[0] + 2);
}

/* What was a hole before is none of the changes. */
static void
test_a_hole_around_a_hole_is_told_exactly (void)
{
  g_autoptr (Model) older = make_older (3000);
  g_autoptr (Model) newer = NULL;

  older->generation = CUT;
  model_punch (older, 1000, 500);
  model_preallocate (older, 1200, 100);
  older->generation = CUT + 1;
  newer = model_snapshot (older);
  model_punch (newer, 303, 2000);
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_CANDIDATES);
}

/* As many blocks, in leaves that leave no trace. */
static guint64
drop_leaves (Model *self)
{
  guint64 before = model_allocated (self);

  for (guint i = 0; i < 20; i++)
    model_drop_leaf (self, 20);
  return (before - model_allocated (self)) / MODEL_BLOCK;
}

/*
 * A file is written behind its end before its size is, so that a cut may find
 * as many bytes there as a hole lacks.  They must not explain leaves that are
 * gone.
 */
static void
test_bytes_behind_the_end_fill_no_hole (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = model_snapshot (older);
  guint64 n = drop_leaves (newer);

  older->generation = CUT;
  model_punch (older, 303, n);
  model_write (older, 500, n);
  older->size = 500 * MODEL_BLOCK;
  older->generation = CUT + 1;
  g_clear_pointer (&newer, model_free);
  newer = model_snapshot (older);
  g_assert_cmpuint (drop_leaves (newer), ==, n);
  model_punch (newer, 302, 1);
  model_punch (newer, 303 + n, 1);
  check (older, newer);
}

/* Neither the leaves beside it nor anything else. */
static void
test_a_write_costs_three_searches (void)
{
  g_autoptr (Model) older = make_older (3000);
  g_autoptr (Model) newer = model_snapshot (older);
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) dirty = NULL;

  model_write (newer, 1500, 1);
  dirty = run_diff (older, newer, CUT + 1, FALSE, &method);
  g_assert_cmpuint (snap_extents_n (dirty), ==, 1);
  g_assert_cmpint (older->n_searches + newer->n_searches, <=, 3);
}

/* Wherever in its leaf it was: nothing is left of it on one side or the
   other. */
static void
test_a_hole_at_any_place_of_a_leaf_is_found (void)
{
  for (guint64 block = 100; block < 124; block++) {
    g_autoptr (Model) older = make_older (500);
    g_autoptr (Model) newer = model_snapshot (older);

    model_punch (newer, block, 1);
    g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_CANDIDATES);
  }
}

/* Not one leaf is new. */
static void
test_a_leaf_that_is_gone_shows_in_the_bytes (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = model_snapshot (older);

  model_drop_leaf (newer, 20);
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_WALK_UNEXPLAINED);
}

/* As many bytes went at one place as came at another. */
static void
test_a_gain_elsewhere_does_not_hide_a_loss (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = NULL;
  guint64 lost;

  model_punch (older, 400, 20);
  newer = model_snapshot (older);
  lost = model_allocated (newer);
  model_drop_leaf (newer, 20);
  lost -= model_allocated (newer);
  model_write (newer, 400, lost / MODEL_BLOCK);
  g_assert_cmpuint (model_allocated (newer), ==, model_allocated (older));
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_WALK_UNEXPLAINED);
}

static void
test_a_cut_tail_and_growth_are_found (void)
{
  static const guint64 sizes[] = { 499, 490, 300, 501, 700 };

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autoptr (Model) older = make_older (500);
    g_autoptr (Model) newer = model_snapshot (older);

    model_truncate (newer, sizes[i] * MODEL_BLOCK);
    check (older, newer);
  }
}

/* Nothing in the tree says that the file is longer now. */
static void
test_growth_by_a_hole_is_dirty_and_zero (void)
{
  g_autoptr (Model) older = make_older (100);
  g_autoptr (Model) newer = model_snapshot (older);
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) dirty = NULL;

  model_truncate (newer, 150 * MODEL_BLOCK);
  dirty = run_diff (older, newer, CUT + 1, FALSE, &method);
  g_assert_cmpuint (snap_extents_n (dirty), ==, 1);
  g_assert_cmpuint (snap_extents_bytes (dirty, SNAP_EXTENT_ZERO), ==,
                    50 * MODEL_BLOCK);
}

static void
test_preallocation_of_a_hole_changes_nothing (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = NULL;
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) dirty = NULL;

  model_punch (older, 100, 50);
  newer = model_snapshot (older);
  model_preallocate (newer, 100, 50);
  dirty = run_diff (older, newer, CUT + 1, FALSE, &method);
  g_assert_cmpuint (snap_extents_n (dirty), ==, 0);
}

/* An old extent at a new offset: its own generation is old. */
static void
test_a_clone_of_old_data_is_found (void)
{
  g_autoptr (Model) older = make_older (500);
  g_autoptr (Model) newer = NULL;
  guint64 place = 1 << 20;

  older->generation = CUT;
  model_share (older, 10, 4, place);
  older->generation = CUT + 1;
  newer = model_snapshot (older);
  model_share (newer, 300, 4, place);
  g_assert_cmpint (check (older, newer), ==, SNAP_BTRFS_BY_CANDIDATES);
}

static void
test_inline_data_is_never_trusted (void)
{
  g_autoptr (Model) older = model_new ();
  g_autoptr (Model) newer = NULL;
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) dirty = NULL;

  model_put_inline (older, 100);
  newer = model_snapshot (older);
  dirty = run_diff (older, newer, 0, FALSE, &method);
  g_assert_cmpint (method, ==, SNAP_BTRFS_BY_WALK);
  g_assert_cmpuint (snap_extents_bytes (dirty, 0), ==, 100);
}

/* The same place, but a part of it that decodes to something else. */
static void
test_another_part_of_an_encoded_extent_is_dirty (void)
{
  SnapBtrfsExtent a = { .kind = SNAP_BTRFS_DATA,
                        .disk_start = 1 << 20,
                        .disk_length = MODEL_BLOCK,
                        .ram_length = 32 * MODEL_BLOCK,
                        .encoding = 3 << 24 };
  SnapBtrfsExtent b = a;

  g_assert_true (snap_btrfs_extent_shares (&a, &b));
  b.shift = MODEL_BLOCK;
  g_assert_false (snap_btrfs_extent_shares (&a, &b));
  b = a;
  b.encoding = 1 << 24;
  g_assert_false (snap_btrfs_extent_shares (&a, &b));
  b = a;
  b.ram_length = MODEL_BLOCK;
  g_assert_false (snap_btrfs_extent_shares (&a, &b));
  b = a;
  b.disk_length *= 2;
  g_assert_false (snap_btrfs_extent_shares (&a, &b));
  b = a;
  b.kind = SNAP_BTRFS_PREALLOC;
  g_assert_false (snap_btrfs_extent_shares (&a, &b));
}

/* ---- random histories ---- */

static void
change_at_random (Model *self, guint n_changes)
{
  for (guint i = 0; i < n_changes; i++) {
    guint64 first = g_test_rand_int_range (0, 1200);
    guint64 n = 1 + g_test_rand_int_range (0, 12);

    switch (g_test_rand_int_range (0, 9)) {
    case 0:
      model_punch (self, first, n * 4);
      break;
    case 1:
      model_put_hole (self, first, n);
      break;
    case 2:
      model_preallocate (self, first, n);
      break;
    case 3:
      model_share (self, first, n, n << 20); /* one of a few places */
      break;
    case 4:
      if (g_test_rand_int_range (0, 4) == 0)
        model_truncate (self, first * MODEL_BLOCK + 1);
      break;
    case 5:
      if (self->leaves->len > 0)
        model_drop_leaf (self, g_test_rand_int_range (0, self->leaves->len));
      break;
    default:
      model_write (self, first, n);
      break;
    }
  }
}

static void
test_random_histories_are_told_exactly (void)
{
  guint n_used[4] = { 0 };

  for (guint round = 0; round < 400; round++) {
    g_autoptr (Model) older = make_older (g_test_rand_int_range (1, 1000));
    g_autoptr (Model) newer = NULL;

    older->generation = CUT;
    change_at_random (older, g_test_rand_int_range (0, 100));
    older->max_batch = g_test_rand_int_range (1, 50);
    older->generation = CUT + 1;
    newer = model_snapshot (older);
    change_at_random (newer, g_test_rand_int_range (0, 8));
    n_used[check (older, newer)]++;
  }
  g_test_message ("by candidates %u, by walk, unexplained %u",
                  n_used[SNAP_BTRFS_BY_CANDIDATES],
                  n_used[SNAP_BTRFS_BY_WALK_UNEXPLAINED]);
  g_assert_cmpuint (n_used[SNAP_BTRFS_BY_CANDIDATES], >, 20);
  g_assert_cmpuint (n_used[SNAP_BTRFS_BY_WALK_UNEXPLAINED], >, 20);
}

static SnapExtents *
diff_in_threads (Model *from, Model *to, guint n_threads,
                 gboolean from_is_newer, SnapBtrfsMethod *method)
{
  const SnapBtrfsDiff diff = { .from = model_side (from),
                               .to = model_side (to),
                               .granularity = MODEL_BLOCK,
                               .since = CUT + 1,
                               .from_is_newer = from_is_newer,
                               .n_threads = n_threads };

  return snap_btrfs_diff (&diff, 0, to->size, method, NULL);
}

static SnapBtrfsMethod
check_threads (Model *from, Model *to, gboolean from_is_newer)
{
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) one =
      diff_in_threads (from, to, 1, from_is_newer, NULL);
  g_autoptr (SnapExtents) several = NULL;

  from->max_batch = to->max_batch = 1; /* more than one search is worth it */
  several = diff_in_threads (from, to, 3, from_is_newer, &method);
  from->max_batch = to->max_batch = 1000;
  assert_true_diff (from, to, several);
  g_assert_cmpuint (snap_extents_n (one), ==, snap_extents_n (several));
  return method;
}

/* Files of several parts, compared by one thread and by three. */
static void
test_threads_find_what_one_finds (void)
{
  for (guint round = 0; round < 200; round++) {
    g_autoptr (Model) older = make_older (g_test_rand_int_range (300, 2500));
    g_autoptr (Model) newer = model_snapshot (older);

    change_at_random (newer, g_test_rand_int_range (0, 30));
    check_threads (older, newer, FALSE);
    check_threads (newer, older, TRUE);
  }
}

/* Changes that reach over where the parts meet, and holes of several parts. */
static void
test_what_lies_in_two_parts_is_found (void)
{
  const guint64 part = 256; /* blocks; see MIN_PART_LENGTH */

  for (guint64 first = part - 14; first < part + 3; first++) {
    g_autoptr (Model) older = make_older (5 * part);
    g_autoptr (Model) written = model_snapshot (older);
    g_autoptr (Model) cut = model_snapshot (older);

    model_write (written, first, 12);
    check_threads (older, written, FALSE);
    check_threads (written, older, TRUE);
    model_punch (cut, first, 3 * part - 6);
    check_threads (older, cut, FALSE);
    check_threads (cut, older, TRUE);
  }
}

/* It is in neither of the parts' candidates, and missing in none. */
static void
test_an_old_extent_in_two_parts_is_left_out (void)
{
  const guint64 part = 256;
  g_autoptr (Model) older = make_older (5 * part);
  g_autoptr (Model) newer = NULL;

  older->generation = CUT;
  model_write (older, part - 6, 12);
  model_write (older, 2 * part - 6, 12);
  older->generation = CUT + 1;
  newer = model_snapshot (older);
  model_punch (newer, 3 * part + 100, 1);
  g_assert_cmpint (check_threads (older, newer, FALSE), ==,
                   SNAP_BTRFS_BY_CANDIDATES);
  g_assert_cmpint (check_threads (newer, older, TRUE), ==,
                   SNAP_BTRFS_BY_CANDIDATES);
}

static void
test_a_part_is_cut_out_of_the_whole (void)
{
  g_autoptr (Model) older = make_older (600);
  g_autoptr (Model) newer = model_snapshot (older);
  SnapBtrfsMethod method;
  g_autoptr (SnapExtents) whole = NULL;
  const guint64 sinces[] = { 0, CUT + 1 };

  change_at_random (newer, 5);
  whole = run_diff (older, newer, 0, FALSE, &method);
  for (guint64 i = 0; i + 16 < newer->size / MODEL_BLOCK; i += 7) {
    const SnapBtrfsDiff diff = {
      .from = model_side (older),
      .to = model_side (newer),
      .granularity = MODEL_BLOCK,
      .since = sinces[i % 2],
    };
    g_autoptr (SnapExtents) part =
        snap_btrfs_diff (&diff, i * MODEL_BLOCK, 16 * MODEL_BLOCK, NULL, NULL);
    g_autoptr (SnapExtents) expected =
        snap_extents_clip (whole, i * MODEL_BLOCK, 16 * MODEL_BLOCK);

    g_assert_cmpuint (snap_extents_bytes (part, 0), ==,
                      snap_extents_bytes (expected, 0));
    g_assert_cmpuint (snap_extents_n (part), ==, snap_extents_n (expected));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/btrfs-diff/a-write-is-found-by-its-leaf",
                   test_a_write_is_found_by_its_leaf);
  g_test_add_func ("/btrfs-diff/nothing-changed-is-nothing-searched",
                   test_nothing_changed_is_nothing_searched);
  g_test_add_func ("/btrfs-diff/a-hole-that-leaves-no-item-is-found",
                   test_a_hole_that_leaves_no_item_is_found);
  g_test_add_func ("/btrfs-diff/a-hole-item-is-found",
                   test_a_hole_item_is_found);
  g_test_add_func ("/btrfs-diff/a-hole-in-a-full-file-is-told-without-them",
                   test_a_hole_in_a_full_file_is_told_without_them);
  g_test_add_func ("/btrfs-diff/a-hole-around-a-hole-is-told-exactly",
                   test_a_hole_around_a_hole_is_told_exactly);
  g_test_add_func ("/btrfs-diff/bytes-behind-the-end-fill-no-hole",
                   test_bytes_behind_the_end_fill_no_hole);
  g_test_add_func ("/btrfs-diff/a-write-costs-three-searches",
                   test_a_write_costs_three_searches);
  g_test_add_func ("/btrfs-diff/a-hole-at-any-place-of-a-leaf-is-found",
                   test_a_hole_at_any_place_of_a_leaf_is_found);
  g_test_add_func ("/btrfs-diff/a-leaf-that-is-gone-shows-in-the-bytes",
                   test_a_leaf_that_is_gone_shows_in_the_bytes);
  g_test_add_func ("/btrfs-diff/a-gain-elsewhere-does-not-hide-a-loss",
                   test_a_gain_elsewhere_does_not_hide_a_loss);
  g_test_add_func ("/btrfs-diff/a-cut-tail-and-growth-are-found",
                   test_a_cut_tail_and_growth_are_found);
  g_test_add_func ("/btrfs-diff/growth-by-a-hole-is-dirty-and-zero",
                   test_growth_by_a_hole_is_dirty_and_zero);
  g_test_add_func ("/btrfs-diff/preallocation-of-a-hole-changes-nothing",
                   test_preallocation_of_a_hole_changes_nothing);
  g_test_add_func ("/btrfs-diff/a-clone-of-old-data-is-found",
                   test_a_clone_of_old_data_is_found);
  g_test_add_func ("/btrfs-diff/inline-data-is-never-trusted",
                   test_inline_data_is_never_trusted);
  g_test_add_func ("/btrfs-diff/another-part-of-an-encoded-extent-is-dirty",
                   test_another_part_of_an_encoded_extent_is_dirty);
  g_test_add_func ("/btrfs-diff/random-histories-are-told-exactly",
                   test_random_histories_are_told_exactly);
  g_test_add_func ("/btrfs-diff/threads-find-what-one-finds",
                   test_threads_find_what_one_finds);
  g_test_add_func ("/btrfs-diff/what-lies-in-two-parts-is-found",
                   test_what_lies_in_two_parts_is_found);
  g_test_add_func ("/btrfs-diff/an-old-extent-in-two-parts-is-left-out",
                   test_an_old_extent_in_two_parts_is_left_out);
  g_test_add_func ("/btrfs-diff/a-part-is-cut-out-of-the-whole",
                   test_a_part_is_cut_out_of_the_whole);
  return g_test_run ();
}
