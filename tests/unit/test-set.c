/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sets as a caller meets them: what is made, what is refused, what is left
 * when a step fails.  Crashes are in test-set-crash.
 */
#include "config.h"

#include "snapshot-core/service/set.h"

#include <glib/gstdio.h>
#include <string.h>

#include "snapshot-core/service/hold.h"
#include "tests/unit/memory-volume.h"

static void
setup (MemoryTest *f, gconstpointer data)
{
  memory_test_setup (f, data);
  memory_store_create ("a", 10 * MEMORY_BLOCK);
  memory_store_create ("b", 20 * MEMORY_BLOCK);
}

/* Try to make a set of two volumes. */
static SnapSet *
try_create (MemoryTest *f, const char *a, const char *b, SnapSetFlags flags,
            GCancellable *cancellable, GError **error)
{
  g_autoptr (SnapVolume) one = memory_test_open (f, a);
  g_autoptr (SnapVolume) two = memory_test_open (f, b);
  SnapVolume *volumes[] = { one, two };
  const SnapSetSpec spec = { .name = "mon", .flags = flags };

  return snap_set_create (f->state, volumes, 2, &spec, cancellable, error);
}

static void
assert_nothing_left (MemoryTest *f)
{
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 0);
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (f, "journal"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (f, "sets"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (f, "holds"), ==, 0);
}

static void
assert_refused (MemoryTest *f, const char *a, const char *b, SnapError code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (try_create (f, a, b, SNAP_SET_DEFAULT, NULL, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
  g_assert_nonnull (strstr (error->message, ": "));
}

static guint
recover (MemoryTest *f)
{
  GError *error = NULL;
  g_auto (SnapSetFound) found = { 0 };

  g_assert_true (snap_set_recover (f->state, f->registry, &found, &error));
  g_assert_no_error (error);
  return found.n_finished;
}

static void
assert_recovery_is_partial (MemoryTest *f, const char *hint)
{
  g_autoptr (GError) error = NULL;
  g_auto (SnapSetFound) found = { 0 };

  g_assert_false (snap_set_recover (f->state, f->registry, &found, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_PARTIAL);
  g_assert_nonnull (strstr (error->message, hint));
}

/* ---- creation ---- */

static void
test_makes_a_set (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapSet) set =
      memory_test_create (f, "mon", "memory:a", "memory:b");
  g_autofree char *manifest = snap_manifest_load (f->state, set->set_id, NULL);

  g_assert_cmpstr (set->name, ==, "mon");
  g_assert_true (snap_set_id_is_valid (set->set_id));
  g_assert_cmpint (set->consistency, ==, SNAP_SET_ATOMIC);
  g_assert_cmpuint (set->points->len, ==, 2);
  for (guint i = 0; i < 2; i++) {
    const SnapPoint *point = g_ptr_array_index (set->points, i);

    g_assert_cmpstr (point->set_id, ==, set->set_id);
    g_assert_cmpstr (point->name, ==, "mon");
    g_assert_cmpuint (point->size, ==, (i + 1) * 10 * MEMORY_BLOCK);
  }
  g_assert_nonnull (strstr (manifest, "\"nbdsnap/set/1\""));
  g_assert_cmpuint (memory_test_n_files (f, "journal"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (f, "holds"), ==, 0);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 1);
}

typedef struct {
  const char *a, *b;
  SnapSetConsistency consistency;
} Consistency;

static void
test_says_how_consistent_it_is (MemoryTest *f, gconstpointer data)
{
  static const Consistency cases[] = {
    { "memory:a", NULL, SNAP_SET_ATOMIC },
    { "slow-memory:a", NULL, SNAP_SET_ATOMIC },
    { "memory:a", "memory:b", SNAP_SET_ATOMIC },
    { "slow-memory:a", "slow-memory:b", SNAP_SET_ONE_AFTER_ANOTHER },
    { "memory:a", "slow-memory:b", SNAP_SET_ONE_AFTER_ANOTHER },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *name = g_strdup_printf ("n%zu", i);
    g_autoptr (SnapSet) set =
        memory_test_create (f, name, cases[i].a, cases[i].b);

    g_assert_cmpint (set->consistency, ==, cases[i].consistency);
  }
}

static void
test_refuses_to_be_weaker_than_asked (MemoryTest *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (try_create (f, "memory:a", "slow-memory:b",
                             SNAP_SET_REQUIRE_ATOMIC, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_FAILED);
  assert_nothing_left (f);
}

static void
append_cut (MemoryPhase phase, const char *store, gpointer order)
{
  if (phase == MEMORY_DO_CUT)
    g_string_append (order, store);
}

static void
test_cuts_the_slow_ones_first (MemoryTest *f, gconstpointer data)
{
  g_autoptr (GString) order = g_string_new (NULL);

  memory_driver_set_hook (append_cut, order);
  snap_set_free (memory_test_create (f, "mon", "memory:a", "slow-memory:b"));
  g_assert_cmpstr (order->str, ==, "ba");
}

typedef struct {
  MemoryTest *test;
  GString *order;
} Settling;

/* How many manifests there are when each cut is settled. */
static void
append_settled (MemoryPhase phase, const char *store, gpointer data)
{
  Settling *self = data;

  if (phase == MEMORY_DO_CUT)
    g_string_append_printf (self->order, "cut %s, ", store);
  if (phase == MEMORY_SETTLE)
    g_string_append_printf (self->order, "settle %s with %u, ", store,
                            memory_test_n_files (self->test, "sets"));
}

static void
test_settles_after_all_cuts_and_before_the_manifest (MemoryTest *f,
                                                     gconstpointer data)
{
  g_autoptr (GString) order = g_string_new (NULL);
  Settling settling = { f, order };

  memory_driver_set_hook (append_settled, &settling);
  snap_set_free (memory_test_create (f, "mon", "memory:a", "slow-memory:b"));
  g_assert_cmpstr (order->str, ==,
                   "cut b, cut a, settle b with 0, settle a with 0, ");
  g_assert_cmpuint (memory_test_n_files (f, "sets"), ==, 1);
}

static void
wait_in_cut (MemoryPhase phase, const char *store, gpointer data)
{
  if (phase == MEMORY_DO_CUT)
    g_usleep (2000);
}

static void
test_measures_the_window (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapSet) set = NULL;

  memory_driver_set_hook (wait_in_cut, NULL);
  set = memory_test_create (f, "mon", "memory:a", "slow-memory:b");
  g_assert_cmpuint (set->window_us, >=, 4000);
}

static void
test_refuses_bad_requests (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = memory_test_open (f, "memory:a");
  const SnapSetSpec good = { .name = "mon" };
  const SnapSetSpec bad = { .name = "live" };
  g_autoptr (GError) no_volume = NULL;
  g_autoptr (GError) bad_name = NULL;

  assert_refused (f, "memory:a", "memory:a", SNAP_ERROR_USAGE);
  g_assert_null (snap_set_create (f->state, NULL, 0, &good, NULL, &no_volume));
  g_assert_error (no_volume, SNAP_ERROR, SNAP_ERROR_USAGE);
  g_assert_null (snap_set_create (f->state, &volume, 1, &bad, NULL, &bad_name));
  g_assert_error (bad_name, SNAP_ERROR, SNAP_ERROR_USAGE);
  assert_nothing_left (f);
}

static void
test_refuses_a_name_that_is_taken (MemoryTest *f, gconstpointer data)
{
  memory_store_snapshot_by_other ("b", "mon");
  assert_refused (f, "memory:a", "memory:b", SNAP_ERROR_EXISTS);
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 0);
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 1);
}

static void
test_one_creator_at_a_time (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = memory_test_open (f, "memory:b");
  SnapHold *hold = snap_hold_take_volume (f->state, volume, NULL);

  assert_refused (f, "memory:a", "memory:b", SNAP_ERROR_BUSY);
  snap_hold_release (hold);
  assert_nothing_left (f);
}

static void
test_a_failing_step_leaves_nothing (MemoryTest *f, gconstpointer data)
{
  static const MemoryPhase phases[] = { MEMORY_PLAN, MEMORY_PREPARE,
                                        MEMORY_DO_CUT, MEMORY_SETTLE };

  for (gsize i = 0; i < G_N_ELEMENTS (phases); i++)
    for (guint nth = 1; nth <= 2; nth++) {
      memory_driver_fail (phases[i], nth);
      assert_refused (f, "memory:a", "slow-memory:b", SNAP_ERROR_IO);
      assert_nothing_left (f);
    }
}

static void
test_an_undo_that_fails_is_left_to_recovery (MemoryTest *f, gconstpointer data)
{
  for (guint nth = 1; nth <= 2; nth++) {
    memory_driver_fail (MEMORY_DO_CUT, 2);
    memory_driver_fail (MEMORY_ABORT, nth);
    assert_refused (f, "memory:a", "memory:b", SNAP_ERROR_PARTIAL);
    g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 0);
    g_assert_cmpuint (memory_test_n_listed (f, "memory:b"), ==, 0);
    g_assert_cmpuint (recover (f), ==, 1);
    assert_nothing_left (f);
  }
}

static void
test_a_commit_that_fails_is_completed_later (MemoryTest *f, gconstpointer data)
{
  memory_driver_fail (MEMORY_COMMIT, 1);
  assert_refused (f, "memory:a", "memory:b", SNAP_ERROR_PARTIAL);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 0);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:b"), ==, 0);
  g_assert_cmpuint (recover (f), ==, 1);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 1);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:b"), ==, 1);
}

/* Put a file in the place of the manifests. */
static void
spoil_manifests (MemoryPhase phase, const char *store, gpointer data)
{
  const MemoryTest *f = data;
  g_autofree char *path =
      g_build_filename (snap_state_directory (f->state), "sets", NULL);

  if (phase != MEMORY_DO_CUT)
    return;
  g_rmdir (path);
  g_assert_true (g_file_set_contents (path, "", 0, NULL));
}

static void
test_an_unsure_manifest_is_left_to_recovery (MemoryTest *f, gconstpointer data)
{
  g_autofree char *path =
      g_build_filename (snap_state_directory (f->state), "sets", NULL);

  memory_driver_set_hook (spoil_manifests, f);
  assert_refused (f, "memory:a", "memory:b", SNAP_ERROR_PARTIAL);
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 1);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 0);
  g_assert_cmpint (g_remove (path), ==, 0);
  g_assert_cmpuint (recover (f), ==, 1);
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 0);
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 0);
}

/* ---- cancelling ---- */

typedef struct {
  GCancellable *cancellable;
  MemoryPhase phase;
} Cancel;

static void
cancel_in_phase (MemoryPhase phase, const char *store, gpointer data)
{
  const Cancel *cancel = data;

  if (phase == cancel->phase)
    g_cancellable_cancel (cancel->cancellable);
}

static void
test_cancelling_undoes (MemoryTest *f, gconstpointer data)
{
  static const MemoryPhase phases[] = { MEMORY_PLAN, MEMORY_PREPARE,
                                        MEMORY_DO_CUT, MEMORY_SETTLE };

  for (gsize i = 0; i < G_N_ELEMENTS (phases); i++) {
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GError) error = NULL;
    Cancel cancel = { cancellable, phases[i] };

    memory_driver_set_hook (cancel_in_phase, &cancel);
    g_assert_null (try_create (f, "memory:a", "memory:b", SNAP_SET_DEFAULT,
                               cancellable, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CANCELLED);
    assert_nothing_left (f);
  }
}

static void
test_cancelling_after_the_decision_is_too_late (MemoryTest *f,
                                                gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  Cancel cancel = { cancellable, MEMORY_COMMIT };
  g_autoptr (SnapSet) set = NULL;

  memory_driver_set_hook (cancel_in_phase, &cancel);
  set = try_create (f, "memory:a", "memory:b", SNAP_SET_DEFAULT, cancellable,
                    NULL);
  g_assert_nonnull (set);
}

/* ---- recovery ---- */

static void
test_recovery_of_nothing_creates_nothing (MemoryTest *f, gconstpointer data)
{
  g_assert_cmpuint (recover (f), ==, 0);
  g_assert_false (
      g_file_test (snap_state_directory (f->state), G_FILE_TEST_EXISTS));
}

static void
leave_entry (MemoryTest *f, const char *id, const char *text)
{
  snap_journal_abandon (snap_journal_begin (f->state, id, text, NULL));
}

static void
test_a_bad_entry_does_not_block_others (MemoryTest *f, gconstpointer data)
{
  g_autoptr (GHashTable) left = NULL;

  leave_entry (f, "0000000000000001", "{\"schema\":");
  leave_entry (f, "0000000000000002",
               "{\"schema\":\"nbdsnap/journal/1\",\"op\":\"create\",\"set\":"
               "\"0000000000000003\",\"volumes\":[{\"driver\":\"memory\","
               "\"location\":\"a\",\"record\":\"0000000000000003 a\"}]}");
  leave_entry (f, "0000000000000004",
               "{\"schema\":\"nbdsnap/journal/1\",\"op\":\"create\",\"set\":"
               "\"0000000000000004\",\"volumes\":[{\"driver\":\"nosuch\","
               "\"location\":\"a\",\"record\":\"r\"}]}");
  memory_driver_fail (MEMORY_DO_CUT, 2);
  memory_driver_fail (MEMORY_ABORT, 1);
  assert_refused (f, "memory:a", "memory:b", SNAP_ERROR_PARTIAL);
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 1);
  assert_recovery_is_partial (f, "");
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 0);

  left = snap_journal_list (f->state, NULL);
  g_assert_cmpuint (g_hash_table_size (left), ==, 3);
}

static void
test_a_corrupt_entry_is_named (MemoryTest *f, gconstpointer data)
{
  leave_entry (f, "0000000000000001", "\xff\xfe");
  assert_recovery_is_partial (f, "journal/0000000000000001.json");
}

static void
test_recovery_that_fails_can_be_repeated (MemoryTest *f, gconstpointer data)
{
  memory_driver_fail (MEMORY_COMMIT, 1);
  assert_refused (f, "memory:a", "memory:b", SNAP_ERROR_PARTIAL);
  memory_driver_fail (MEMORY_RECOVER, 2);
  assert_recovery_is_partial (f, "told to fail");
  g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 0);
  g_assert_cmpuint (recover (f), ==, 1);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 1);
}

#define ADD(name, test) \
  g_test_add ("/set/" name, MemoryTest, NULL, setup, test, memory_test_teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("makes-a-set", test_makes_a_set);
  ADD ("says-how-consistent-it-is", test_says_how_consistent_it_is);
  ADD ("refuses-to-be-weaker-than-asked", test_refuses_to_be_weaker_than_asked);
  ADD ("cuts-the-slow-ones-first", test_cuts_the_slow_ones_first);
  ADD ("settles-after-all-cuts-and-before-the-manifest",
       test_settles_after_all_cuts_and_before_the_manifest);
  ADD ("measures-the-window", test_measures_the_window);
  ADD ("refuses-bad-requests", test_refuses_bad_requests);
  ADD ("refuses-a-name-that-is-taken", test_refuses_a_name_that_is_taken);
  ADD ("one-creator-at-a-time", test_one_creator_at_a_time);
  ADD ("a-failing-step-leaves-nothing", test_a_failing_step_leaves_nothing);
  ADD ("an-undo-that-fails-is-left-to-recovery",
       test_an_undo_that_fails_is_left_to_recovery);
  ADD ("a-commit-that-fails-is-completed-later",
       test_a_commit_that_fails_is_completed_later);
  ADD ("an-unsure-manifest-is-left-to-recovery",
       test_an_unsure_manifest_is_left_to_recovery);
  ADD ("cancelling-undoes", test_cancelling_undoes);
  ADD ("cancelling-after-the-decision-is-too-late",
       test_cancelling_after_the_decision_is_too_late);
  ADD ("recovery-of-nothing-creates-nothing",
       test_recovery_of_nothing_creates_nothing);
  ADD ("a-bad-entry-does-not-block-others",
       test_a_bad_entry_does_not_block_others);
  ADD ("a-corrupt-entry-is-named", test_a_corrupt_entry_is_named);
  ADD ("recovery-that-fails-can-be-repeated",
       test_recovery_that_fails_can_be_repeated);
  return g_test_run ();
}
