/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export.h"

#include <string.h>

#include "tests/unit/memory-export.h"

static void
test_reads_are_padded_with_zeroes (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  g_autoptr (SnapExport) export = memory_export_open (exports, "tue");
  g_autoptr (GError) error = NULL;
  guint8 bytes[2 * MEMORY_BLOCK];

  g_assert_cmpuint (snap_export_image_size (export), ==, MEMORY_EXPORT_SIZE);
  g_assert_cmpuint (snap_export_size (export), ==, MEMORY_EXPORT_PADDED);
  memset (bytes, 'x', sizeof bytes);
  g_assert_true (snap_export_read (export, MEMORY_BLOCK - 1, bytes, 2, NULL));
  g_assert_cmpmem (bytes, 3, "abx", 3);
  memset (bytes, 'x', sizeof bytes);
  g_assert_true (
      snap_export_read (export, MEMORY_EXPORT_PADDED - 512, bytes, 512, NULL));
  g_assert_true (bytes[0] == 0 && memcmp (bytes, bytes + 1, 511) == 0);
  g_assert_true (bytes[512] == 'x');
  g_assert_true (
      snap_export_read (export, MEMORY_EXPORT_PADDED - 1, bytes, 1, NULL));
  g_assert_true (
      snap_export_read (export, MEMORY_EXPORT_PADDED, bytes, 0, NULL));
  g_assert_false (
      snap_export_read (export, MEMORY_EXPORT_PADDED - 1, bytes, 2, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_USAGE);
  snap_export_prefetch (export, 0, MEMORY_EXPORT_PADDED,
                        SNAP_EXPORT_PAGES_TO_DROP);
}

static void
assert_allocation (SnapExport *export, guint64 offset, guint64 length,
                   const char *expected)
{
  g_autoptr (SnapExtents) extents = snap_extents_new ();
  g_autoptr (GString) text = g_string_new (NULL);
  GError *error = NULL;

  g_assert_true (snap_export_allocation (
      export, offset, length, snap_extents_append_func, extents, &error));
  g_assert_no_error (error);
  for (gsize i = 0; i < snap_extents_n (extents); i++) {
    const SnapExtent *extent = snap_extents_at (extents, i);

    g_string_append_printf (text,
                            "%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT ":%u ",
                            extent->offset, extent->length, extent->flags);
  }
  g_assert_cmpstr (text->str, ==, expected);
}

static void
test_allocation_has_no_gap (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  g_autoptr (SnapExport) export = memory_export_open (exports, "wed");

  assert_allocation (export, 0, MEMORY_EXPORT_PADDED,
                     "0+4096:2 4096+4096:0 "
                     "8192+8704:3 ");
  assert_allocation (export, 4097, 4096, "4097+4095:0 8192+1:3 ");
  assert_allocation (export, MEMORY_EXPORT_SIZE, 412, "16484+412:3 ");
  assert_allocation (export, MEMORY_EXPORT_SIZE + 1, 411, "16485+411:3 ");
  assert_allocation (export, MEMORY_EXPORT_PADDED, 0, "");
}

static void
test_what_a_driver_leaves_out_is_data (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk@live");
  g_autoptr (SnapExport) export = NULL;

  memory_store_zero ("disk", 3 * MEMORY_BLOCK, MEMORY_BLOCK);
  export = memory_export_open (exports, "");
  memory_driver_hide_holes (TRUE);
  assert_allocation (export, 0, MEMORY_EXPORT_PADDED,
                     "0+4096:2 4096+8192:0 12288+4096:2 16384+100:0 "
                     "16484+412:3 ");
  assert_allocation (export, 9000, 100, "9000+100:0 ");
}

static gboolean
count_two (const SnapExtent *extent, gpointer n, GError **error)
{
  return ++*(guint *) n < 2;
}

static gboolean
refuse (const SnapExtent *extent, gpointer n, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_CANCELLED, "client: gone");
}

static void
test_allocation_stops_when_told (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  g_autoptr (SnapExport) export = memory_export_open (exports, "wed");
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) past = NULL;
  guint n = 0;

  g_assert_true (snap_export_allocation (export, 0, MEMORY_EXPORT_PADDED,
                                         count_two, &n, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (n, ==, 2);
  g_assert_false (snap_export_allocation (export, 0, MEMORY_EXPORT_PADDED,
                                          refuse, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CANCELLED);
  g_assert_false (snap_export_allocation (export, 1, MEMORY_EXPORT_PADDED,
                                          count_two, &n, &past));
  g_assert_error (past, SNAP_ERROR, SNAP_ERROR_USAGE);
}

/* ---- dirty extents ---- */

static void
count_diffs (MemoryPhase phase, const char *store, gpointer n)
{
  if (phase == MEMORY_DIFF)
    g_atomic_int_inc ((gint *) n);
}

static gpointer
ask_dirty (gpointer data)
{
  SnapExport *export = memory_export_open (data, "mon..wed");
  GError *error = NULL;
  const SnapExtents *dirty = snap_export_dirty (export, &error);

  g_assert_no_error (error);
  g_assert_true (snap_export_is_range (export));
  g_assert_cmpuint (snap_extents_n (dirty), ==, 2);
  g_assert_cmpuint (snap_extents_at (dirty, 0)->flags, ==,
                    SNAP_EXTENT_DIRTY | SNAP_EXTENT_ZERO);
  g_assert_cmpuint (snap_extents_end (dirty), ==, 2 * MEMORY_BLOCK);
  snap_export_close (export);
  return NULL;
}

static void
test_a_pair_is_compared_once (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  GThread *threads[4];
  gint n_diffs = 0;

  memory_driver_set_hook (count_diffs, &n_diffs);
  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("client", ask_dirty, exports);
  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
  g_assert_cmpint (n_diffs, ==, 1);
}

static void
test_a_failed_diff_stays_failed (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  g_autoptr (SnapExport) export = memory_export_open (exports, "mon..tue");

  memory_driver_fail (MEMORY_DIFF, 1);
  for (int i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (snap_export_dirty (export, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  }
}

static void
test_the_padding_is_never_dirty (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = MEMORY_EXPORTS (f, "memory:disk");
  g_autoptr (SnapExport) export = memory_export_open (exports, "empty..tue");
  const SnapExtents *dirty = snap_export_dirty (export, NULL);

  g_assert_cmpuint (snap_extents_end (dirty), ==, MEMORY_EXPORT_SIZE);
}

/* ---- in a process of its own ---- */

static const SnapExportsTwinFuncs no_funcs;

static SnapExports *
separated (MemoryTest *f)
{
  SnapExports *exports = MEMORY_EXPORTS (f, "memory:disk");
  GError *error = NULL;

  g_assert_true (snap_exports_separate (exports, &no_funcs, NULL, &error));
  g_assert_no_error (error);
  return exports;
}

static void
test_a_twin_compares_and_not_this_process (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = separated (f);
  gint n_diffs = 0;

  memory_driver_set_hook (count_diffs, &n_diffs);
  ask_dirty (exports);
  g_assert_cmpint (n_diffs, ==, 0);
}

static void
test_a_twin_tells_why_it_failed (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapExports) exports = NULL;
  g_autoptr (SnapExport) export = NULL;
  g_autoptr (GError) error = NULL;

  memory_driver_fail (MEMORY_DIFF, 1);
  exports = separated (f);
  export = memory_export_open (exports, "mon..tue");
  g_assert_null (snap_export_dirty (export, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_nonnull (strstr (error->message, "disk"));
}

static void
test_a_comparison_by_a_twin_can_be_called_off (MemoryTest *f,
                                               gconstpointer data)
{
  g_autoptr (SnapExports) exports = separated (f);
  g_autoptr (SnapExport) export = memory_export_open (exports, "mon..tue");
  g_autoptr (GError) error = NULL;

  snap_exports_cancel (exports);
  g_assert_null (snap_export_dirty (export, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CANCELLED);
}

#define ADD(name, test)                                                     \
  g_test_add ("/export/" name, MemoryTest, NULL, memory_export_setup, test, \
              memory_test_teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("reads-are-padded-with-zeroes", test_reads_are_padded_with_zeroes);
  ADD ("allocation-has-no-gap", test_allocation_has_no_gap);
  ADD ("what-a-driver-leaves-out-is-data",
       test_what_a_driver_leaves_out_is_data);
  ADD ("allocation-stops-when-told", test_allocation_stops_when_told);
  ADD ("a-pair-is-compared-once", test_a_pair_is_compared_once);
  ADD ("a-failed-diff-stays-failed", test_a_failed_diff_stays_failed);
  ADD ("the-padding-is-never-dirty", test_the_padding_is_never_dirty);
  ADD ("twin/compares-and-not-this-process",
       test_a_twin_compares_and_not_this_process);
  ADD ("twin/tells-why-it-failed", test_a_twin_tells_why_it_failed);
  ADD ("twin/a-comparison-can-be-called-off",
       test_a_comparison_by_a_twin_can_be_called_off);
  return g_test_run ();
}
