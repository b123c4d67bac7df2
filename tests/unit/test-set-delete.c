/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/set.h"

#include <string.h>

#include "snapshot-core/service/hold.h"
#include "tests/unit/memory-volume.h"

/* Two volumes with one set of both, ready to be deleted. */
typedef struct {
  MemoryTest test;
  SnapSet *set;
  SnapVolume *volumes[2];
  SnapSetMember members[2];
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  static const char *const names[] = { "a", "b" };

  memory_test_setup (&f->test, data);
  for (int i = 0; i < 2; i++)
    memory_store_create (names[i], MEMORY_BLOCK);
  f->set = memory_test_create (&f->test, "mon", "memory:a", "memory:b");
  f->volumes[0] = memory_test_open (&f->test, "memory:a");
  f->volumes[1] = memory_test_open (&f->test, "memory:b");
  for (int i = 0; i < 2; i++)
    f->members[i] = (SnapSetMember){ f->volumes[i], f->set->points->pdata[i] };
}

static void
teardown (Fixture *f, gconstpointer data)
{
  snap_volume_unref (f->volumes[0]);
  snap_volume_unref (f->volumes[1]);
  snap_set_free (f->set);
  memory_test_teardown (&f->test, data);
}

static void
assert_refused (Fixture *f, gsize n_members, SnapError code, const char *hint)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (
      snap_set_delete (f->test.state, f->members, n_members, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
  g_assert_nonnull (strstr (error->message, hint));
}

static void
assert_nothing_deleted (Fixture *f)
{
  g_assert_cmpuint (memory_test_n_listed (&f->test, "memory:a"), ==, 1);
  g_assert_cmpuint (memory_test_n_listed (&f->test, "memory:b"), ==, 1);
  g_assert_cmpuint (memory_test_n_files (&f->test, "journal"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (&f->test, "sets"), ==, 1);
}

static void
assert_all_deleted (Fixture *f)
{
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 0);
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (&f->test, "journal"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (&f->test, "sets"), ==, 0);
  g_assert_cmpuint (memory_test_n_files (&f->test, "holds"), ==, 0);
}

/* FALSE is PARTIAL. */
static gboolean
recover (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  g_auto (SnapSetFound) found = { 0 };

  if (snap_set_recover (f->test.state, f->test.registry, &found, &error))
    return TRUE;
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_PARTIAL);
  return FALSE;
}

static void
test_deletes_a_whole_set (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  g_assert_true (snap_set_delete (f->test.state, f->members, 2, &error));
  g_assert_no_error (error);
  assert_all_deleted (f);
}

static void
test_the_manifest_loses_one_volume (Fixture *f, gconstpointer data)
{
  g_autofree char *text = NULL;

  g_assert_true (snap_set_delete (f->test.state, f->members, 1, NULL));
  text = snap_manifest_load (f->test.state, f->set->set_id, NULL);
  g_assert_null (strstr (text, "\"location\":\"a\""));
  g_assert_nonnull (strstr (text, "\"location\":\"b\""));
  g_assert_true (snap_set_delete (f->test.state, &f->members[1], 1, NULL));
  assert_all_deleted (f);
}

/* Their deletions change one manifest. */
#define N_VOLUMES 8

typedef struct {
  MemoryTest *test;
  SnapVolume *volume;
  SnapPoint *point;
} Deletion;

static gpointer
delete_one (gpointer data)
{
  Deletion *self = data;
  SnapSetMember member = { self->volume, self->point };
  GError *error = NULL;

  g_assert_true (snap_set_delete (self->test->state, &member, 1, &error));
  g_assert_no_error (error);
  return NULL;
}

static SnapSet *
create_wide_set (Fixture *f, SnapVolume **volumes)
{
  const SnapSetSpec spec = { .name = "wide" };
  GError *error = NULL;
  SnapSet *set;

  for (int i = 0; i < N_VOLUMES; i++) {
    g_autofree char *name = g_strdup_printf ("wide%d", i);
    g_autofree char *reference = g_strconcat ("memory:", name, NULL);

    memory_store_create (name, MEMORY_BLOCK);
    volumes[i] = memory_test_open (&f->test, reference);
  }
  set =
      snap_set_create (f->test.state, volumes, N_VOLUMES, &spec, NULL, &error);
  g_assert_no_error (error);
  return set;
}

static void
test_deletions_at_once_all_reach_the_manifest (Fixture *f, gconstpointer data)
{
  SnapVolume *volumes[N_VOLUMES];
  g_autoptr (SnapSet) set = create_wide_set (f, volumes);
  Deletion deletions[N_VOLUMES];
  GThread *threads[N_VOLUMES];
  g_autofree char *text = NULL;

  for (int i = 0; i < N_VOLUMES; i++) {
    deletions[i] = (Deletion){ &f->test, volumes[i], set->points->pdata[i] };
    threads[i] = g_thread_new ("delete", delete_one, &deletions[i]);
  }
  for (int i = 0; i < N_VOLUMES; i++) {
    g_thread_join (threads[i]);
    snap_volume_unref (volumes[i]);
  }
  text = snap_manifest_load (f->test.state, set->set_id, NULL);
  g_assert_cmpstr (text, ==, NULL);
  g_assert_true (snap_set_delete (f->test.state, f->members, 2, NULL));
  assert_all_deleted (f);
}

static void
test_the_checks_delete_nothing (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  g_assert_true (snap_set_check_delete (f->test.state, f->members, 2, &error));
  g_assert_no_error (error);
  assert_nothing_deleted (f);
}

static void
test_what_is_held_stays_with_its_set (Fixture *f, gconstpointer data)
{
  SnapHold *hold = snap_hold_take (f->test.state, f->volumes[1],
                                   f->members[1].point, SNAP_HOLD_USE, NULL);

  assert_refused (f, 2, SNAP_ERROR_BUSY, "b@mon");
  g_assert_false (snap_set_check_delete (f->test.state, f->members, 2, NULL));
  assert_nothing_deleted (f);
  snap_hold_release (hold);
  g_assert_true (snap_set_delete (f->test.state, f->members, 2, NULL));
}

static void
test_what_is_not_ours_stays (Fixture *f, gconstpointer data)
{
  g_autoptr (SnapPoint) theirs = NULL;

  memory_store_snapshot_by_other ("b", "theirs");
  theirs = memory_test_point (&f->test, f->volumes[1], "theirs");
  f->members[1].point = theirs;
  assert_refused (f, 2, SNAP_ERROR_UNSUPPORTED, "b@theirs");
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 1);
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 2);
}

static void
test_what_is_gone_is_said (Fixture *f, gconstpointer data)
{
  g_assert_true (snap_set_delete (f->test.state, &f->members[1], 1, NULL));
  assert_refused (f, 2, SNAP_ERROR_NOT_FOUND, "b@mon");
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 1);
}

static void
test_refuses_bad_requests (Fixture *f, gconstpointer data)
{
  g_autoptr (SnapPoint) live =
      memory_test_point (&f->test, f->volumes[1], "live");

  f->members[1] = f->members[0];
  assert_refused (f, 2, SNAP_ERROR_USAGE, "twice");
  f->members[1] = (SnapSetMember){ f->volumes[1], live };
  assert_refused (f, 2, SNAP_ERROR_USAGE, "b@live");
  assert_nothing_deleted (f);
}

/* ---- when it fails ---- */

static void
test_a_refusal_by_the_storage_calls_it_off (Fixture *f, gconstpointer data)
{
  memory_driver_fail (MEMORY_REMOVE, 1);
  assert_refused (f, 2, SNAP_ERROR_IO, "told to fail");
  assert_nothing_deleted (f);
}

static void
test_once_decided_it_goes_forward (Fixture *f, gconstpointer data)
{
  memory_driver_fail (MEMORY_REMOVE, 2);
  assert_refused (f, 2, SNAP_ERROR_PARTIAL, "told to fail");
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 1);
  g_assert_cmpuint (memory_test_n_listed (&f->test, "memory:b"), ==, 0);
  memory_driver_fail (MEMORY_REMOVE, 1);
  g_assert_false (recover (f));
  g_assert_cmpuint (memory_test_n_listed (&f->test, "memory:b"), ==, 0);
  g_assert_true (recover (f));
  assert_all_deleted (f);
}

/* It may be a file system that is not mounted yet. */
static void
test_a_volume_that_is_away_is_waited_for (Fixture *f, gconstpointer data)
{
  g_autoptr (GHashTable) entries = NULL;
  g_autoptr (GError) error = NULL;
  GHashTableIter iter;
  gpointer set_id = NULL;

  memory_driver_fail (MEMORY_REMOVE, 2);
  assert_refused (f, 2, SNAP_ERROR_PARTIAL, "");
  memory_store_destroy ("b");
  g_assert_false (recover (f));
  entries = snap_journal_list (f->test.state, &error);
  g_assert_cmpuint (g_hash_table_size (entries), ==, 1);

  /* Unless somebody says that it will not come back. */
  g_hash_table_iter_init (&iter, entries);
  g_assert_true (g_hash_table_iter_next (&iter, &set_id, NULL));
  g_assert_false (snap_set_forget (f->test.state, "0123456789abcdef", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
  g_clear_error (&error);
  g_assert_true (snap_set_forget (f->test.state, set_id, &error));
  g_assert_no_error (error);
  g_assert_true (recover (f));
}

static void
test_recovery_waits_for_users (Fixture *f, gconstpointer data)
{
  SnapHold *hold;

  memory_driver_fail (MEMORY_REMOVE, 2);
  assert_refused (f, 2, SNAP_ERROR_PARTIAL, "");
  hold = snap_hold_take (f->test.state, f->volumes[1], f->members[1].point,
                         SNAP_HOLD_USE, NULL);
  g_assert_false (recover (f));
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 1);
  snap_hold_release (hold);
  g_assert_true (recover (f));
  assert_all_deleted (f);
}

/* An entry that names somebody else's snapshot, by an identity of ours. */
static void
test_recovery_deletes_only_ours (Fixture *f, gconstpointer data)
{
  memory_store_snapshot_by_other ("b", "theirs");
  snap_journal_abandon (snap_journal_begin (
      f->test.state, "00000000000000dd",
      "{\"schema\":\"nbdsnap/journal/1\",\"op\":\"delete\",\"set\":"
      "\"00000000000000dd\",\"volumes\":[{\"driver\":\"memory\",\"location\":"
      "\"b\",\"point_id\":\"2/m\"},{\"driver\":\"memory\",\"location\":\"a\","
      "\"point_id\":\"1/m\",\"point_set\":\"0000000000000bad\"}]}",
      NULL));
  g_assert_true (recover (f));
  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 1);
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, 2);
}

#define ADD(name, test) \
  g_test_add ("/set/delete/" name, Fixture, NULL, setup, test, teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("deletes-a-whole-set", test_deletes_a_whole_set);
  ADD ("the-manifest-loses-one-volume", test_the_manifest_loses_one_volume);
  ADD ("deletions-at-once-all-reach-the-manifest",
       test_deletions_at_once_all_reach_the_manifest);
  ADD ("the-checks-delete-nothing", test_the_checks_delete_nothing);
  ADD ("what-is-held-stays-with-its-set", test_what_is_held_stays_with_its_set);
  ADD ("what-is-not-ours-stays", test_what_is_not_ours_stays);
  ADD ("what-is-gone-is-said", test_what_is_gone_is_said);
  ADD ("refuses-bad-requests", test_refuses_bad_requests);
  ADD ("a-refusal-by-the-storage-calls-it-off",
       test_a_refusal_by_the_storage_calls_it_off);
  ADD ("once-decided-it-goes-forward", test_once_decided_it_goes_forward);
  ADD ("a-volume-that-is-away-is-waited-for",
       test_a_volume_that_is_away_is_waited_for);
  ADD ("recovery-waits-for-users", test_recovery_waits_for_users);
  ADD ("recovery-deletes-only-ours", test_recovery_deletes_only_ours);
  return g_test_run ();
}
