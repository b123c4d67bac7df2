/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/volume.h"

#include <string.h>

#include "tests/unit/memory-volume.h"

static void
assert_not_found (MemoryTest *f, SnapVolume *volume, const char *name,
                  SnapError code, const char *hint)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_volume_find_point (volume, f->state, name, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
  g_assert_nonnull (strstr (error->message, hint));
}

static void
assert_is (MemoryTest *f, SnapVolume *volume, const char *word,
           const char *name, const char *id)
{
  g_autoptr (SnapPoint) point = memory_test_point (f, volume, word);

  g_assert_cmpstr (point->name, ==, name);
  g_assert_cmpstr (point->id, ==, id);
}

static void
test_finds_points_by_every_word (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;

  memory_store_create ("disk", 5000);
  memory_store_make_backing ("disk");
  memory_store_snapshot_by_other ("disk", "mon");
  memory_store_snapshot_by_other ("disk", "tue");
  volume = memory_test_open (f, "disk");
  assert_is (f, volume, "mon", "mon", "1/m");
  assert_is (f, volume, "2", "tue", "2/m");
  assert_is (f, volume, "2/m", "tue", "2/m");
  assert_is (f, volume, "newest", "tue", "2/m");
  assert_is (f, volume, "live", "live", "live");
  assert_is (f, volume, "backing", "backing", "backing");
  assert_is (f, volume, "empty", "empty", "empty");
  assert_not_found (f, volume, "wed", SNAP_ERROR_NOT_FOUND, "disk@wed");
  assert_not_found (f, volume, "2/", SNAP_ERROR_NOT_FOUND, "disk@2/");
  assert_not_found (f, volume, "", SNAP_ERROR_NOT_FOUND, "disk@");
}

static void
test_a_name_of_two_points_is_ambiguous (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (GPtrArray) points = NULL;

  memory_store_create ("disk", 0);
  memory_store_snapshot_by_other ("disk", "same");
  memory_store_snapshot_by_other ("disk", "same");
  memory_store_snapshot_by_other ("disk", "live");
  memory_store_snapshot_by_other ("disk", "1");
  volume = memory_test_open (f, "memory:disk");
  assert_not_found (f, volume, "same", SNAP_ERROR_USAGE, "1/m, 2/m");
  assert_is (f, volume, "1", "1", "4/m");

  points = snap_volume_list (volume, f->state, NULL);
  g_assert_cmpstr (snap_volume_point_word (points, points->pdata[0]), ==,
                   "1/m");
  g_assert_cmpstr (snap_volume_point_word (points, points->pdata[2]), ==,
                   "3/m");
  g_assert_cmpstr (snap_volume_point_word (points, points->pdata[3]), ==, "1");
}

static void
test_says_what_a_volume_lacks (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;

  memory_store_create ("disk", 0);
  volume = memory_test_open (f, "memory:disk");
  assert_not_found (f, volume, "newest", SNAP_ERROR_NOT_FOUND, "no snapshot");
  assert_not_found (f, volume, "backing", SNAP_ERROR_NOT_FOUND, "backing");
}

static void
test_closes_with_the_last_reference (MemoryTest *f, gconstpointer data)
{
  SnapVolume *volume;

  memory_store_create ("disk", 0);
  volume = memory_test_open (f, "memory:disk");
  g_assert_true (snap_volume_ref (volume) == volume);
  snap_volume_unref (volume);
  g_assert_cmpstr (volume->id, ==, "disk");
  snap_volume_unref (volume);
}

static void
test_a_reference_names_it_again (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autofree char *text = NULL;

  memory_store_create ("odd@disk", 0);
  volume = memory_test_open (f, "memory:odd%40disk");
  text = snap_volume_format_reference (volume, "a b");
  g_assert_cmpstr (text, ==, "memory:odd%40disk@a%20b");
}

/* An unfinished set and a decided deletion, as their makers left them. */
static void
leave_entry (MemoryTest *f, const char *id, const char *text)
{
  snap_journal_abandon (snap_journal_begin (f->state, id, text, NULL));
}

static void
test_hides_what_is_unfinished (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapSet) mon = NULL;
  g_autoptr (SnapSet) tue = NULL;
  g_autoptr (SnapSet) wed = NULL;
  g_autoptr (SnapVolume) volume = NULL;

  memory_store_create ("disk", 0);
  mon = memory_test_create (f, "mon", "memory:disk", NULL);
  tue = memory_test_create (f, "tue", "memory:disk", NULL);
  wed = memory_test_create (f, "wed", "memory:disk", NULL);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:disk"), ==, 3);
  leave_entry (f, mon->set_id, "not even readable");
  leave_entry (f, "00000000000000dd",
               "{\"schema\":\"nbdsnap/journal/1\",\"op\":\"delete\","
               "\"set\":\"00000000000000dd\",\"volumes\":[{\"driver\":"
               "\"memory\",\"location\":\"disk\",\"volume_id\":\"disk\","
               "\"point_id\":\"2/m\"}]}\n");
  volume = memory_test_open (f, "memory:disk");
  assert_is (f, volume, "newest", "wed", "3/m");
  g_assert_cmpuint (memory_test_n_listed (f, "memory:disk"), ==, 1);
  assert_not_found (f, volume, "mon", SNAP_ERROR_NOT_FOUND, "disk@mon");
  assert_not_found (f, volume, "tue", SNAP_ERROR_NOT_FOUND, "disk@tue");
}

static void
test_listing_creates_no_state (MemoryTest *f, gconstpointer data)
{
  memory_store_create ("disk", 0);
  memory_store_snapshot_by_other ("disk", "mon");
  g_assert_cmpuint (memory_test_n_listed (f, "memory:disk"), ==, 1);
  g_assert_false (
      g_file_test (snap_state_directory (f->state), G_FILE_TEST_EXISTS));
}

#define ADD(name, test)                                                   \
  g_test_add ("/volume/" name, MemoryTest, NULL, memory_test_setup, test, \
              memory_test_teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("finds-points-by-every-word", test_finds_points_by_every_word);
  ADD ("a-name-of-two-points-is-ambiguous",
       test_a_name_of_two_points_is_ambiguous);
  ADD ("says-what-a-volume-lacks", test_says_what_a_volume_lacks);
  ADD ("closes-with-the-last-reference", test_closes_with_the_last_reference);
  ADD ("a-reference-names-it-again", test_a_reference_names_it_again);
  ADD ("hides-what-is-unfinished", test_hides_what_is_unfinished);
  ADD ("listing-creates-no-state", test_listing_creates_no_state);
  return g_test_run ();
}
