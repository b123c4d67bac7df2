/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract of diffs: no changed byte is ever left out.
 */
#include "config.h"

#include "snapshot-core/service/diff.h"
#include "tests/unit/contract-history.h"
#include "tests/unit/scratch.h"

/* Bytes in [offset, end) that the diff calls clean. */
static void
assert_clean (const Moment *from, const Moment *to, guint64 offset, guint64 end)
{
  if (offset == end)
    return;
  g_assert_cmpuint (end, <=, from->point->size);
  g_assert_cmpmem (moment_bytes (from) + offset, end - offset,
                   moment_bytes (to) + offset, end - offset);
}

static void
assert_nothing_missed (const Moment *from, const Moment *to,
                       const SnapExtents *dirty)
{
  guint64 at = 0;

  for (gsize i = 0; i < snap_extents_n (dirty); i++) {
    const SnapExtent *extent = snap_extents_at (dirty, i);

    assert_clean (from, to, at, extent->offset);
    at = extent->offset + extent->length;
    if ((extent->flags & SNAP_EXTENT_ZERO) != 0)
      g_assert_true (
          bytes_are_zero (moment_bytes (to) + extent->offset, extent->length));
  }
  g_assert_cmpuint (at, <=, to->point->size);
  assert_clean (from, to, at, to->point->size);
}

/* With an exact proof, what nobody touched is not dirty. */
static void
assert_nothing_invented (const History *history, guint from, guint to,
                         const SnapDiffResult *result, const SnapExtents *dirty)
{
  guint64 granularity = result->info.granularity;

  for (gsize i = 0; i < snap_extents_n (dirty); i++) {
    const SnapExtent *extent = snap_extents_at (dirty, i);
    guint64 end = extent->offset + extent->length;

    for (guint64 at = extent->offset; at < end;) {
      guint64 next = MIN (end, (at / granularity + 1) * granularity);

      g_assert_true (history_touched (history, MIN (from, to), MAX (from, to),
                                      at / granularity * granularity,
                                      (at / granularity + 1) * granularity));
      at = next;
    }
  }
}

static SnapExtents *
run_diff (History *history, SnapState *state, const SnapPoint *from,
          const SnapPoint *to, SnapDiffResult *result)
{
  SnapExtents *dirty = snap_extents_new ();
  GError *error = NULL;
  g_autoptr (SnapDiff) diff =
      snap_diff_new (state, history->volume, from, history->volume, to, &error);
  gboolean done;

  g_assert_no_error (error);
  done = snap_diff_run (diff, snap_extents_append_func, dirty, result, &error);
  g_assert_no_error (error);
  g_assert_true (done);
  g_assert_cmpuint (result->n_extents, ==, snap_extents_n (dirty));
  g_assert_cmpuint (result->dirty_bytes, ==, snap_extents_bytes (dirty, 0));
  g_assert_cmpuint (result->info.granularity, >, 0);
  g_assert_nonnull (result->info.source);
  return dirty;
}

/* As front ends do, so that storages that are slow to ask are asked once. */
static void
look (History *history)
{
  GError *error = NULL;

  g_assert_true (snap_volumes_look (&history->volume, 1, &error));
  g_assert_no_error (error);
}

static void
assert_refused (History *history, SnapState *state, const SnapPoint *from,
                const SnapPoint *to)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_diff_new (state, history->volume, from, history->volume,
                                to, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
}

void
contract_check_pair (History *history, SnapState *state, guint from, guint to)
{
  const Moment *older = history_at (history, from);
  const Moment *newer = history_at (history, to);
  g_autoptr (SnapExtents) dirty = NULL;
  SnapDiffResult result;

  look (history);
  if (!snap_diff_comparable (history->volume, older->point, newer->point)) {
    assert_refused (history, state, older->point, newer->point);
    return;
  }
  dirty = run_diff (history, state, older->point, newer->point, &result);
  assert_nothing_missed (older, newer, dirty);
  if (result.info.proof == SNAP_PROOF_EXACT)
    assert_nothing_invented (history, from, to, &result, dirty);
}

static void
test_diffs_miss_nothing (gconstpointer storage)
{
  g_autoptr (Scratch) scratch = scratch_new ();
  g_autoptr (SnapState) state = snap_state_new (scratch);

  for (guint i = 0; i < ((const ContractStorage *) storage)->n_rounds; i++) {
    g_autoptr (History) history = history_new (storage);

    for (guint from = 0; from < history->moments->len; from++)
      for (guint to = 0; to < history->moments->len; to++)
        contract_check_pair (history, state, from, to);
  }
}

static void
test_all_is_new_against_nothing (gconstpointer storage)
{
  g_autoptr (Scratch) scratch = scratch_new ();
  g_autoptr (SnapState) state = snap_state_new (scratch);
  g_autoptr (History) history = history_new (storage);
  g_autoptr (SnapPoint) empty =
      snap_volume_find_point (history->volume, NULL, "empty", NULL);

  for (guint i = 0; i < history->moments->len; i++) {
    const Moment *to = history_at (history, i);
    const Moment nothing = { empty, to->bytes };
    SnapDiffResult result;
    g_autoptr (SnapExtents) dirty =
        run_diff (history, state, empty, to->point, &result);
    g_autoptr (SnapExtents) back =
        run_diff (history, state, to->point, empty, &result);

    assert_nothing_missed (&nothing, to, dirty);
    g_assert_cmpuint (snap_extents_bytes (dirty, 0), ==, to->point->size);
    g_assert_cmpuint (snap_extents_n (back), ==, 0);
  }
}

/* What the driver itself says about a part of @to. */
static SnapExtents *
ask_driver (History *history, const SnapPoint *from, const SnapPoint *to,
            guint64 offset, guint64 length, guint64 *granularity)
{
  SnapExtents *extents = snap_extents_new ();
  SnapDiffInfo info = { 0 };
  SnapDiffRequest request = { .from_volume = history->volume,
                              .from = from,
                              .to_volume = history->volume,
                              .to = to,
                              .offset = offset,
                              .length = length };
  GError *error = NULL;

  history->volume->driver->diff (&request, &info, snap_extents_append_func,
                                 extents, &error);
  g_assert_no_error (error);
  *granularity = info.granularity;
  return extents;
}

static void
assert_equal (const SnapExtents *a, const SnapExtents *b)
{
  g_assert_cmpuint (snap_extents_n (a), ==, snap_extents_n (b));
  for (gsize i = 0; i < snap_extents_n (a); i++) {
    const SnapExtent *one = snap_extents_at (a, i);
    const SnapExtent *other = snap_extents_at (b, i);

    g_assert_cmpuint (one->offset, ==, other->offset);
    g_assert_cmpuint (one->length, ==, other->length);
    g_assert_cmpuint (one->flags, ==, other->flags);
  }
}

static void
assert_aligned (const SnapExtents *extents, guint64 granularity, guint64 size)
{
  for (gsize i = 0; i < snap_extents_n (extents); i++) {
    const SnapExtent *extent = snap_extents_at (extents, i);
    guint64 end = extent->offset + extent->length;

    g_assert_cmpuint (extent->offset % granularity, ==, 0);
    g_assert_true (end % granularity == 0 || end == size);
    g_assert_true ((extent->flags & SNAP_EXTENT_DIRTY) != 0);
  }
}

static void
check_parts (History *history, const SnapPoint *from, const SnapPoint *to)
{
  guint64 granularity;
  g_autoptr (SnapExtents) whole =
      ask_driver (history, from, to, 0, to->size, &granularity);

  assert_aligned (whole, granularity, to->size);
  for (int i = 0; i < 10; i++) {
    guint64 offset = history_random (to->size) / granularity * granularity;
    guint64 wanted = (1 + history_random (16)) * granularity;
    guint64 length = MIN (to->size - offset, wanted);
    g_autoptr (SnapExtents) part =
        ask_driver (history, from, to, offset, length, &granularity);
    g_autoptr (SnapExtents) clipped = snap_extents_clip (whole, offset, length);

    assert_equal (part, clipped);
  }
}

static void
test_a_part_is_cut_out_of_the_whole (gconstpointer storage)
{
  g_autoptr (History) history = history_new (storage);

  look (history);
  for (guint to = 1; to < history->moments->len; to++) {
    const SnapPoint *older = history_at (history, to - 1)->point;
    const SnapPoint *newer = history_at (history, to)->point;

    if (snap_diff_comparable (history->volume, older, newer))
      check_parts (history, older, newer);
  }
}

const ContractTest contract_diff_tests[] = {
  { "diffs-miss-nothing", test_diffs_miss_nothing },
  { "all-is-new-against-nothing", test_all_is_new_against_nothing },
  { "a-part-is-cut-out-of-the-whole", test_a_part_is_cut_out_of_the_whole },
  { NULL, NULL },
};
