/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export.h"

#include <string.h>

#include "tests/unit/memory-export.h"

static void
assert_unresolved (MemoryTest *f, const char *one, const char *two,
                   SnapError code, const char *hint)
{
  const char *const references[] = { one, two, NULL };
  g_autoptr (GError) error = NULL;

  g_assert_null (memory_export_try (f, references, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
  g_assert_nonnull (strstr (error->message, hint));
}

static void
assert_not_open (SnapExports *exports, const char *name, SnapError code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_export_open (exports, name, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
}

/* ---- names ---- */

static gboolean
append_name (const char *name, const char *description, gpointer names)
{
  g_assert_nonnull (strstr (description, "memory:"));
  g_assert_true (g_utf8_validate (description, -1, NULL));
  g_string_append_printf (names, "%s ", name);
  return TRUE;
}

static void
assert_names (SnapExports *exports, const char *names, const char *default_name)
{
  g_autoptr (GString) found = g_string_new (NULL);

  snap_exports_list (exports, append_name, found);
  g_assert_cmpstr (found->str, ==, names);
  g_assert_cmpstr (snap_exports_default (exports), ==, default_name);
}

static void
test_a_volume_is_all_its_snapshots (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");

  assert_names (exports, "wed tue mon tue..wed mon..wed mon..tue ", "wed");
}

static void
test_a_point_or_range_is_just_that (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) point = MEMORY_EXPORTS (f, "memory:disk@tue");
  g_autoptr (SnapExports) range = MEMORY_EXPORTS (f, "disk@backing..newest");
  g_autoptr (SnapExports) both =
      MEMORY_EXPORTS (f, "disk@mon..tue", "memory:disk@live", "disk@live");

  assert_names (point, "tue ", "tue");
  assert_not_open (point, "mon", SNAP_ERROR_NOT_FOUND);
  assert_not_open (point, "mon..tue", SNAP_ERROR_NOT_FOUND);
  assert_not_open (both, "mon", SNAP_ERROR_NOT_FOUND);
  assert_not_open (both, "tue..mon", SNAP_ERROR_NOT_FOUND);
  assert_names (range, "backing..wed ", "backing..wed");
  assert_names (both, "mon..tue live ", "mon..tue");
}

static void
test_several_volumes_are_told_apart (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = NULL;
  g_autoptr (SnapExports) labelled = NULL;

  memory_store_create ("x/disk", 0);
  memory_store_create ("other", 0);
  memory_store_snapshot_by_other ("other", "one");
  memory_store_snapshot_by_other ("x/disk", "one");
  exports = MEMORY_EXPORTS (f, "memory:other", "memory:disk@mon..tue");
  assert_names (exports, "other@one disk@mon..tue ", "other@one");
  assert_unresolved (f, "memory:disk", "memory:x/disk", SNAP_ERROR_USAGE,
                     "LABEL=");
  labelled = MEMORY_EXPORTS (f, "memory:disk@tue", "new one=memory:x/disk");
  assert_names (labelled, "disk@tue new%20one@one ", "disk@tue");
  snap_export_close (memory_export_open (labelled, "new%20one@one"));
  assert_not_open (labelled, "one", SNAP_ERROR_NOT_FOUND);
  assert_not_open (labelled, "tue", SNAP_ERROR_NOT_FOUND);
  assert_not_open (labelled, "disk@mon", SNAP_ERROR_NOT_FOUND);
}

static void
test_a_label_that_was_given_is_used (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "root=memory:disk@tue");

  assert_names (exports, "root@tue ", "root@tue");
}

static void
test_odd_names_are_encoded (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = NULL;

  memory_store_create ("odd", 0);
  memory_store_snapshot_by_other ("odd", "a..b@\xff");
  memory_store_snapshot_by_other ("odd", "same");
  memory_store_snapshot_by_other ("odd", "same");
  memory_store_snapshot_by_other ("odd", "empty");
  exports = MEMORY_EXPORTS (f, "memory:odd");
  assert_names (exports,
                "4/m 3/m 2/m a%2E%2Eb%40%FF 3/m..4/m 2/m..4/m "
                "a%2E%2Eb%40%FF..4/m 2/m..3/m a%2E%2Eb%40%FF..3/m "
                "a%2E%2Eb%40%FF..2/m ",
                "4/m");
  snap_export_close (memory_export_open (exports, "a%2e%2Eb%40%ff..3/m"));
  assert_not_open (exports, "same", SNAP_ERROR_NOT_FOUND);
}

static void
test_more_can_be_opened_than_is_listed (MemoryTest *f, gconstpointer data)
{
  static const char *const names[] = {
    "",           "newest",      "wed..mon",     "backing..tue",
    "empty..tue", "mon..newest", "%6don..%74ue", "1/m"
  };
  static const char *const wrong[] = { "thu",   "mon..thu",  "thu..mon",
                                       "mon..", "..mon",     "a@mon",
                                       "live",  "mon..live", "%00",
                                       "mon ",  "@mon" };
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    snap_export_close (memory_export_open (exports, names[i]));
  for (gsize i = 0; i < G_N_ELEMENTS (wrong); i++)
    assert_not_open (exports, wrong[i], SNAP_ERROR_NOT_FOUND);
  assert_not_open (exports, "empty", SNAP_ERROR_USAGE);
}

static void
test_refuses_what_cannot_be_served (MemoryTest *f, gconstpointer data)
{
  memory_store_create ("new", 0);
  assert_unresolved (f, "memory:new", NULL, SNAP_ERROR_NOT_FOUND,
                     "no snapshot");
  assert_unresolved (f, "memory:disk@thu", NULL, SNAP_ERROR_NOT_FOUND,
                     "disk@thu");
  assert_unresolved (f, "memory:disk@mon..thu", NULL, SNAP_ERROR_NOT_FOUND,
                     "disk@thu");
  assert_unresolved (f, "memory:disk@empty", NULL, SNAP_ERROR_USAGE,
                     "disk@empty");
  assert_unresolved (f, "memory:disk@", NULL, SNAP_ERROR_USAGE, "@");
  assert_unresolved (f, "memory:none", NULL, SNAP_ERROR_NOT_FOUND, "none");
}

static void
test_a_long_list_is_cut_short (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = NULL;
  g_autoptr (GString) found = g_string_new (NULL);
  guint n = 0;

  memory_store_create ("many", 0);
  for (int i = 0; i < 150; i++) {
    g_autofree char *name = g_strdup_printf ("s%d", i);

    memory_store_snapshot_by_other ("many", name);
  }
  exports = MEMORY_EXPORTS (f, "memory:many");
  snap_exports_list (exports, append_name, found);
  for (const char *at = found->str; *at != '\0'; at++)
    n += *at == ' ';
  g_assert_cmpuint (n, ==, 4096);
  g_assert_true (g_str_has_prefix (found->str, "s149 s148 "));
  snap_export_close (memory_export_open (exports, "s0..s1"));
}

/* ---- resolved once ---- */

static void
test_what_is_served_does_not_change (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  SnapExport *export;

  memory_test_fill ("disk", 0, 1, 'x');
  snap_set_free (memory_test_create (f, "thu", "memory:disk", NULL));
  export = memory_export_open (exports, "newest");
  g_assert_nonnull (
      strstr (snap_export_description (export), "memory:disk@wed"));
  snap_export_close (export);
  assert_not_open (exports, "thu", SNAP_ERROR_NOT_FOUND);
  assert_names (exports, "wed tue mon tue..wed mon..wed mon..tue ", "wed");
}

static gboolean
can_delete (MemoryTest *f, const char *name)
{
  g_autoptr (SnapVolume) volume = memory_test_open (f, "memory:disk");
  g_autoptr (SnapPoint) point = memory_test_point (f, volume, name);
  const SnapSetMember member = { volume, point };

  return snap_set_check_delete (f->state, &member, 1, NULL);
}

static void
test_what_is_served_is_held (MemoryTest *f, gconstpointer data)
{
  SnapExports *exports = MEMORY_EXPORTS (f, "memory:disk@mon..tue");

  g_assert_false (can_delete (f, "mon"));
  g_assert_false (can_delete (f, "tue"));
  g_assert_true (can_delete (f, "wed"));
  snap_exports_free (exports);
  g_assert_true (can_delete (f, "mon"));
  exports = MEMORY_EXPORTS (f, "memory:disk");
  g_assert_false (can_delete (f, "wed"));
  snap_exports_free (exports);
  g_assert_cmpuint (memory_test_n_files (f, "holds"), ==, 0);
}

static void
test_connections_share_an_image (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  SnapExport *one, *two, *three;

  g_assert_cmpuint (memory_driver_n_images (), ==, 0);
  one = memory_export_open (exports, "tue");
  two = memory_export_open (exports, "mon..tue");
  three = memory_export_open (exports, "wed..tue");
  g_assert_cmpuint (memory_driver_n_images (), ==, 1);
  snap_export_close (one);
  snap_export_close (three);
  g_assert_cmpuint (memory_driver_n_images (), ==, 1);
  snap_export_close (two);
  g_assert_cmpuint (memory_driver_n_images (), ==, 0);
}

static void
test_a_failed_open_can_be_tried_again (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");

  memory_driver_fail (MEMORY_IMAGE, 1);
  assert_not_open (exports, "tue", SNAP_ERROR_IO);
  snap_export_close (memory_export_open (exports, "tue"));
  g_assert_cmpuint (memory_driver_n_images (), ==, 0);
}

#define ADD(name, test)                                                     \
  g_test_add ("/export/" name, MemoryTest, NULL, memory_export_setup, test, \
              memory_test_teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("a-volume-is-all-its-snapshots", test_a_volume_is_all_its_snapshots);
  ADD ("a-point-or-range-is-just-that", test_a_point_or_range_is_just_that);
  ADD ("several-volumes-are-told-apart", test_several_volumes_are_told_apart);
  ADD ("a-label-that-was-given-is-used", test_a_label_that_was_given_is_used);
  ADD ("odd-names-are-encoded", test_odd_names_are_encoded);
  ADD ("more-can-be-opened-than-is-listed",
       test_more_can_be_opened_than_is_listed);
  ADD ("refuses-what-cannot-be-served", test_refuses_what_cannot_be_served);
  ADD ("a-long-list-is-cut-short", test_a_long_list_is_cut_short);
  ADD ("what-is-served-does-not-change", test_what_is_served_does_not_change);
  ADD ("what-is-served-is-held", test_what_is_served_is_held);
  ADD ("connections-share-an-image", test_connections_share_an_image);
  ADD ("a-failed-open-can-be-tried-again",
       test_a_failed_open_can_be_tried_again);
  return g_test_run ();
}
