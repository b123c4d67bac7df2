/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract of data: every image is what was there at its cut, and no
 * changed byte is ever left out of a diff.
 */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "snapshot-core/service/diff.h"
#include "tests/unit/contract-history.h"
#include "tests/unit/scratch.h"

static const guint8 *
bytes_of (const Moment *moment)
{
  return g_bytes_get_data (moment->bytes, NULL);
}

static gboolean
is_zero (const guint8 *bytes, guint64 length)
{
  return length == 0
         || (*bytes == 0 && memcmp (bytes, bytes + 1, length - 1) == 0);
}

/* ---- diffs ---- */

/* Bytes in [offset, end) that the diff calls clean. */
static void
assert_clean (const Moment *from, const Moment *to, guint64 offset,
              guint64 end)
{
  if (offset == end)
    return;
  g_assert_cmpuint (end, <=, from->point->size);
  g_assert_cmpmem (bytes_of (from) + offset, end - offset,
                   bytes_of (to) + offset, end - offset);
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
      g_assert_true (is_zero (bytes_of (to) + extent->offset, extent->length));
  }
  g_assert_cmpuint (at, <=, to->point->size);
  assert_clean (from, to, at, to->point->size);
}

/* With an exact proof, what nobody touched is not dirty. */
static void
assert_nothing_invented (const History *history, guint from, guint to,
                         const SnapDiffResult *result,
                         const SnapExtents *dirty)
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
  g_autoptr (SnapDiff) diff = snap_diff_new (
      state, history->volume, from, history->volume, to, &error);
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

static void
assert_refused (History *history, SnapState *state, const SnapPoint *from,
                const SnapPoint *to)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_diff_new (state, history->volume, from, history->volume,
                                to, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
}

static void
check_pair (History *history, SnapState *state, guint from, guint to)
{
  const Moment *older = history_at (history, from);
  const Moment *newer = history_at (history, to);
  g_autoptr (SnapExtents) dirty = NULL;
  SnapDiffResult result;

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
        check_pair (history, state, from, to);
  }
}

static void
test_all_is_new_against_nothing (gconstpointer storage)
{
  g_autoptr (Scratch) scratch = scratch_new ();
  g_autoptr (SnapState) state = snap_state_new (scratch);
  g_autoptr (History) history = history_new (storage);
  g_autoptr (SnapPoint) empty
      = snap_volume_find_point (history->volume, NULL, "empty", NULL);

  for (guint i = 0; i < history->moments->len; i++) {
    const Moment *to = history_at (history, i);
    const Moment nothing = { empty, to->bytes };
    SnapDiffResult result;
    g_autoptr (SnapExtents) dirty
        = run_diff (history, state, empty, to->point, &result);
    g_autoptr (SnapExtents) back
        = run_diff (history, state, to->point, empty, &result);

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
  SnapDiffRequest request = { history->volume, from,   history->volume,
                              to,              offset, length };
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
  g_autoptr (SnapExtents) whole
      = ask_driver (history, from, to, 0, to->size, &granularity);

  assert_aligned (whole, granularity, to->size);
  for (int i = 0; i < 10; i++) {
    guint64 offset
        = history_random (to->size) / granularity * granularity;
    guint64 length = MIN (to->size - offset,
                          (1 + history_random (16)) * granularity);
    g_autoptr (SnapExtents) part
        = ask_driver (history, from, to, offset, length, &granularity);
    g_autoptr (SnapExtents) clipped
        = snap_extents_clip (whole, offset, length);

    assert_equal (part, clipped);
  }
}

static void
test_a_part_is_cut_out_of_the_whole (gconstpointer storage)
{
  g_autoptr (History) history = history_new (storage);

  for (guint to = 1; to < history->moments->len; to++) {
    const SnapPoint *older = history_at (history, to - 1)->point;
    const SnapPoint *newer = history_at (history, to)->point;

    if (snap_diff_comparable (history->volume, older, newer))
      check_parts (history, older, newer);
  }
}

/* ---- images ---- */

static SnapImage *
open_image (History *history, const Moment *moment)
{
  GError *error = NULL;
  SnapImage *image = history->volume->driver->open_image (
      history->volume, moment->point, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (image->size, ==, g_bytes_get_size (moment->bytes));
  return image;
}

static void
assert_read (SnapImage *image, const Moment *moment, guint64 offset,
             gsize length)
{
  g_autofree guint8 *buffer = g_malloc (length + 1);
  GError *error = NULL;
  gboolean read
      = image->ops->read_at (image, offset, buffer, length, &error);

  g_assert_no_error (error);
  g_assert_true (read);
  g_assert_cmpmem (buffer, length, bytes_of (moment) + offset, length);
}

static void
check_random_reads (SnapImage *image, const Moment *moment, guint n_reads)
{
  while (n_reads-- > 0) {
    guint64 offset = history_random (image->size);
    guint64 most = MIN (image->size - offset, 100000);

    assert_read (image, moment, offset, 1 + history_random (most));
  }
}

typedef struct {
  const Moment *moment;
  guint64 at;
} Allocation;

static gboolean
check_extent (const SnapExtent *extent, gpointer data, GError **error)
{
  Allocation *self = data;

  g_assert_cmpuint (extent->offset, ==, self->at);
  g_assert_cmpuint (extent->length, >, 0);
  self->at += extent->length;
  g_assert_cmpuint (self->at, <=, self->moment->point->size);
  if ((extent->flags & SNAP_EXTENT_ZERO) != 0)
    g_assert_true (
        is_zero (bytes_of (self->moment) + extent->offset, extent->length));
  return TRUE;
}

static void
check_extents (SnapImage *image, const Moment *moment, guint64 offset,
               guint64 length)
{
  Allocation allocation = { moment, offset };
  GError *error = NULL;

  g_assert_true (image->ops->extents (image, offset, length, check_extent,
                                      &allocation, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (allocation.at, ==, offset + length);
}

static void
check_file_range (SnapImage *image, const Moment *moment, guint64 offset)
{
  g_autofree guint8 *buffer = NULL;
  SnapFileRange range;

  if (!snap_image_has_file_range (image)
      || !image->ops->file_range (image, offset, image->size - offset, &range))
    return;
  g_assert_cmpuint (range.length, >, 0);
  g_assert_cmpuint (range.length, <=, image->size - offset);
  buffer = g_malloc (range.length);
  g_assert_cmpint (pread (range.fd, buffer, range.length, range.fd_offset), ==,
                   range.length);
  g_assert_cmpmem (buffer, range.length, bytes_of (moment) + offset,
                   range.length);
}

static void
test_images_are_what_was_there (gconstpointer storage)
{
  g_autoptr (History) history = history_new (storage);

  for (guint i = history->moments->len; i-- > 0;) {
    const Moment *moment = history_at (history, i);
    SnapImage *image = open_image (history, moment);

    assert_read (image, moment, 0, image->size);
    assert_read (image, moment, image->size - 1, 1);
    check_random_reads (image, moment, 50);
    check_extents (image, moment, 0, image->size);
    for (int round = 0; round < 20; round++) {
      guint64 offset = history_random (image->size);

      check_file_range (image, moment, offset);
      check_extents (image, moment, offset,
                     1 + history_random (image->size - offset));
    }
    image->ops->close (image);
  }
}

static gboolean
take_one (const SnapExtent *extent, gpointer data, GError **error)
{
  *(guint *) data += 1;
  return FALSE;
}

static gboolean
fail_at_once (const SnapExtent *extent, gpointer data, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_CANCELLED, "enough");
}

static void
test_extents_stop_when_told (gconstpointer storage)
{
  g_autoptr (History) history = history_new (storage);
  SnapImage *image = open_image (history, history_at (history, 0));
  g_autoptr (GError) error = NULL;
  guint n = 0;

  g_assert_true (
      image->ops->extents (image, 0, image->size, take_one, &n, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (n, ==, 1);
  g_assert_false (
      image->ops->extents (image, 0, image->size, fail_at_once, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CANCELLED);
  image->ops->close (image);
}

/* ---- threads ---- */

typedef struct {
  SnapImage *image;
  const Moment *moment;
  GRand *random;
} Reader;

static gpointer
read_at_random (gpointer data)
{
  Reader *self = data;

  for (int i = 0; i < 100; i++) {
    guint32 offset = g_rand_int_range (self->random, 0, self->image->size);
    guint64 most = MIN (self->image->size - offset, 20000);

    assert_read (self->image, self->moment, offset,
                 g_rand_int_range (self->random, 1, most + 1));
    check_extents (self->image, self->moment, offset, most);
  }
  return NULL;
}

static void
test_many_threads_read_and_compare (gconstpointer storage)
{
  g_autoptr (Scratch) scratch = scratch_new ();
  g_autoptr (SnapState) state = snap_state_new (scratch);
  g_autoptr (History) history = history_new (storage);
  Reader readers[4];
  GThread *threads[G_N_ELEMENTS (readers)];

  for (gsize i = 0; i < G_N_ELEMENTS (readers); i++) {
    readers[i].moment = history_at (history, i / 2);
    readers[i].image = open_image (history, readers[i].moment);
    readers[i].random = g_rand_new_with_seed (g_test_rand_int ());
    threads[i] = g_thread_new ("reader", read_at_random, &readers[i]);
  }
  for (guint to = 1; to < history->moments->len; to++)
    check_pair (history, state, to - 1, to);
  for (gsize i = 0; i < G_N_ELEMENTS (readers); i++) {
    g_thread_join (threads[i]);
    readers[i].image->ops->close (readers[i].image);
    g_rand_free (readers[i].random);
  }
}

const ContractTest contract_data_tests[] = {
  { "diffs-miss-nothing", test_diffs_miss_nothing },
  { "all-is-new-against-nothing", test_all_is_new_against_nothing },
  { "a-part-is-cut-out-of-the-whole", test_a_part_is_cut_out_of_the_whole },
  { "images-are-what-was-there", test_images_are_what_was_there },
  { "extents-stop-when-told", test_extents_stop_when_told },
  { "many-threads-read-and-compare", test_many_threads_read_and_compare },
  { NULL, NULL },
};
