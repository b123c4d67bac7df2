/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/diff.h"

#include <string.h>

#include "tests/unit/memory-volume.h"

typedef struct {
  MemoryTest test;
  SnapVolume *volume;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  memory_test_setup (&f->test, data);
  memory_store_create ("disk", 10 * MEMORY_BLOCK);
  memory_test_fill ("disk", 0, 4, 'a');
  memory_store_make_backing ("disk");
  snap_set_free (memory_test_create (&f->test, "mon", "memory:disk", NULL));
  memory_test_fill ("disk", 1, 1, 'b');
  memory_store_discard ("disk", 3 * MEMORY_BLOCK, MEMORY_BLOCK);
  memory_store_resize ("disk", 12 * MEMORY_BLOCK);
  snap_set_free (memory_test_create (&f->test, "tue", "memory:disk", NULL));
  f->volume = memory_test_open (&f->test, "memory:disk");
}

static void
teardown (Fixture *f, gconstpointer data)
{
  snap_volume_unref (f->volume);
  memory_test_teardown (&f->test, data);
}

static SnapDiff *
start (Fixture *f, const char *from, const char *to, GError **error)
{
  g_autoptr (SnapPoint) a = memory_test_point (&f->test, f->volume, from);
  g_autoptr (SnapPoint) b = memory_test_point (&f->test, f->volume, to);

  return snap_diff_new (f->test.state, f->volume, a, f->volume, b, error);
}

/* Run and write in blocks: "first+n" of each extent, "z" where zero. */
static void
assert_diff (Fixture *f, const char *from, const char *to, const char *expected,
             SnapDiffResult *result)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autoptr (GString) text = g_string_new (NULL);
  GError *error = NULL;
  g_autoptr (SnapDiff) diff = start (f, from, to, &error);

  g_assert_no_error (error);
  snap_diff_run (diff, snap_extents_append_func, dirty, result, &error);
  g_assert_no_error (error);
  for (gsize i = 0; i < snap_extents_n (dirty); i++) {
    const SnapExtent *extent = snap_extents_at (dirty, i);

    g_string_append_printf (text, "%s%u+%u%s", i > 0 ? " " : "",
                            (guint) (extent->offset / MEMORY_BLOCK),
                            (guint) (extent->length / MEMORY_BLOCK),
                            (extent->flags & SNAP_EXTENT_ZERO) != 0 ? "z" : "");
  }
  g_assert_cmpstr (text->str, ==, expected);
}

static void
test_compares_in_both_directions (Fixture *f, gconstpointer data)
{
  SnapDiffResult result;

  assert_diff (f, "mon", "tue", "1+1 3+1z 10+2", &result);
  g_assert_cmpuint (result.from_size, ==, 10 * MEMORY_BLOCK);
  g_assert_cmpuint (result.size, ==, 12 * MEMORY_BLOCK);
  g_assert_cmpuint (result.dirty_bytes, ==, 4 * MEMORY_BLOCK);
  g_assert_cmpuint (result.n_extents, ==, 3);
  g_assert_cmpuint (result.info.granularity, ==, MEMORY_BLOCK);
  g_assert_cmpstr (result.info.source, ==, "memory");
  g_assert_cmpstr (snap_proof_name (result.info.proof), ==, "exact");
  assert_diff (f, "tue", "mon", "1+1 3+1", &result);
  assert_diff (f, "backing", "mon", "", &result);
  assert_diff (f, "tue", "live", "", &result);
}

static void
test_against_nothing_all_is_dirty (Fixture *f, gconstpointer data)
{
  SnapDiffResult result;

  assert_diff (f, "empty", "tue", "0+3 3+9z", &result);
  g_assert_cmpstr (result.info.source, ==, "allocation");
  g_assert_cmpuint (result.from_size, ==, 0);
  assert_diff (f, "tue", "empty", "", &result);
  g_assert_cmpuint (result.size, ==, 0);
  assert_diff (f, "empty", "empty", "", &result);
  g_assert_cmpuint (memory_driver_n_images (), ==, 0);
}

static void
test_holds_both_while_it_lives (Fixture *f, gconstpointer data)
{
  SnapDiff *diff = start (f, "mon", "tue", NULL);

  for (int round = 0; round < 2; round++) {
    static const char *const names[] = { "mon", "tue" };

    for (int i = 0; i < 2; i++) {
      g_autoptr (SnapPoint) point =
          memory_test_point (&f->test, f->volume, names[i]);
      const SnapSetMember member = { f->volume, point };

      g_assert_true (snap_set_check_delete (f->test.state, &member, 1, NULL)
                     == (diff == NULL));
    }
    g_clear_pointer (&diff, snap_diff_free);
  }
}

/* What a tool that knows nothing of holds may do. */
static void
replace_mon (MemoryPhase phase, const char *store, gpointer data)
{
  MemoryStore *disk;
  MemorySnap *mon;

  if (phase != MEMORY_DIFF)
    return;
  memory_driver_set_hook (NULL, NULL);
  memory_lock ();
  disk = memory_store_lookup ("disk");
  mon = g_ptr_array_index (disk->snaps, 0);
  mon->id = disk->next_id++;
  memory_unlock ();
}

static void
test_a_point_replaced_meanwhile_is_no_base (Fixture *f, gconstpointer data)
{
  g_autoptr (SnapDiff) diff = start (f, "mon", "tue", NULL);
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autoptr (GError) error = NULL;
  SnapDiffResult result;

  memory_driver_set_hook (replace_mon, NULL);
  g_assert_false (
      snap_diff_run (diff, snap_extents_append_func, dirty, &result, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
}

/* The consumer of the last extent is after the driver's look. */
static gboolean
rename_mon (const SnapExtent *extent, gpointer data, GError **error)
{
  MemorySnap *mon;

  memory_lock ();
  mon = g_ptr_array_index (memory_store_lookup ("disk")->snaps, 0);
  mon->id = 1000;
  memory_unlock ();
  return TRUE;
}

static void
test_identities_are_checked_at_the_end (Fixture *f, gconstpointer data)
{
  g_autoptr (SnapDiff) diff = start (f, "mon", "tue", NULL);
  g_autoptr (GError) error = NULL;
  SnapDiffResult result;

  g_assert_false (snap_diff_run (diff, rename_mon, NULL, &result, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
  g_assert_nonnull (strstr (error->message, "disk@mon"));
}

static void
test_a_lie_of_the_driver_is_an_error (Fixture *f, gconstpointer data)
{
  static const SnapExtent backwards = { 0, 1, SNAP_EXTENT_DIRTY };
  g_autoptr (SnapDiff) diff = start (f, "mon", "tue", NULL);
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autoptr (GError) error = NULL;
  SnapDiffResult result;

  memory_driver_lie (&backwards);
  g_assert_false (
      snap_diff_run (diff, snap_extents_append_func, dirty, &result, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_FAILED);
}

static gboolean
enough (const SnapExtent *extent, gpointer n, GError **error)
{
  ++*(guint *) n;
  return FALSE;
}

static gboolean
disk_full (const SnapExtent *extent, gpointer n, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NO_SPACE, "output: full");
}

static void
test_the_consumer_may_stop (Fixture *f, gconstpointer data)
{
  g_autoptr (SnapDiff) diff = start (f, "mon", "tue", NULL);
  g_autoptr (GError) error = NULL;
  SnapDiffResult result;
  guint n = 0;

  g_assert_true (snap_diff_run (diff, enough, &n, &result, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (n, ==, 1);
  g_assert_false (snap_diff_run (diff, disk_full, NULL, &result, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NO_SPACE);
}

static void
test_a_cancelled_run_ends_without_a_result (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (SnapDiff) diff = start (f, "mon", "tue", NULL);
  g_autoptr (GError) error = NULL;
  SnapDiffResult result;
  guint n = 0;

  snap_diff_set_cancellable (diff, cancellable);
  g_cancellable_cancel (cancellable);
  g_assert_false (snap_diff_run (diff, enough, &n, &result, &error));
  g_assert_cmpuint (n, ==, 0);
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CANCELLED);
}

static void
test_refuses_what_has_no_lineage (Fixture *f, gconstpointer data)
{
  g_autoptr (SnapVolume) other = NULL;
  g_autoptr (SnapVolume) slow = memory_test_open (&f->test, "slow-memory:disk");
  g_autoptr (SnapPoint) mon = memory_test_point (&f->test, f->volume, "mon");
  g_autoptr (SnapPoint) live = memory_test_point (&f->test, f->volume, "live");
  g_autoptr (GError) stores = NULL;
  g_autoptr (GError) drivers = NULL;
  g_autoptr (GError) no_data = NULL;

  memory_store_create ("other", 0);
  other = memory_test_open (&f->test, "memory:other");
  g_assert_null (
      snap_diff_new (f->test.state, f->volume, mon, other, live, &stores));
  g_assert_error (stores, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
  g_assert_null (
      snap_diff_new (f->test.state, f->volume, mon, slow, live, &drivers));
  g_assert_error (drivers, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
  live->kind = SNAP_POINT_CHECKPOINT;
  g_assert_false (snap_diff_comparable (f->volume, mon, live));
  g_assert_null (
      snap_diff_new (f->test.state, f->volume, mon, f->volume, live, &no_data));
  g_assert_error (no_data, SNAP_ERROR, SNAP_ERROR_USAGE);
}

#define ADD(name, test) \
  g_test_add ("/diff/" name, Fixture, NULL, setup, test, teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("compares-in-both-directions", test_compares_in_both_directions);
  ADD ("against-nothing-all-is-dirty", test_against_nothing_all_is_dirty);
  ADD ("holds-both-while-it-lives", test_holds_both_while_it_lives);
  ADD ("a-point-replaced-meanwhile-is-no-base",
       test_a_point_replaced_meanwhile_is_no_base);
  ADD ("identities-are-checked-at-the-end",
       test_identities_are_checked_at_the_end);
  ADD ("a-lie-of-the-driver-is-an-error", test_a_lie_of_the_driver_is_an_error);
  ADD ("the-consumer-may-stop", test_the_consumer_may_stop);
  ADD ("a-cancelled-run-ends-without-a-result",
       test_a_cancelled_run_ends_without_a_result);
  ADD ("refuses-what-has-no-lineage", test_refuses_what_has_no_lineage);
  return g_test_run ();
}
