/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <math.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/library.h"

/* A library that every system has, and that is not needed to build this. */
#define LIBRARY "libm.so.6"

#define FUNCTIONS(F) F (floor) F (hypot)

typedef struct {
  FUNCTIONS (SNAP_LIBRARY_POINTER)
} Table;

static void
assert_empty (const Table *table)
{
  g_assert_true (table->floor == NULL);
  g_assert_true (table->hypot == NULL);
}

static void
test_functions_can_be_called (void)
{
  static const char *const names[] = { FUNCTIONS (SNAP_LIBRARY_NAME) };
  Table table = { 0 };
  GError *error = NULL;

  for (int i = 0; i < 2; i++) {
    g_assert_true (snap_library_load (LIBRARY, names, G_N_ELEMENTS (names),
                                      &table, &error));
    g_assert_no_error (error);
  }
  g_assert_cmpfloat (table.floor (2.5), ==, 2);
  g_assert_cmpfloat (table.hypot (3, 4), ==, 5);
}

static void
test_no_such_library_is_unsupported (void)
{
  static const char *const names[] = { FUNCTIONS (SNAP_LIBRARY_NAME) };
  g_autoptr (GError) error = NULL;
  Table table = { 0 };

  g_assert_false (snap_library_load ("libnbdsnap-none.so.0", names,
                                     G_N_ELEMENTS (names), &table, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
  g_assert_nonnull (g_strstr_len (error->message, -1, "libnbdsnap-none.so.0"));
  assert_empty (&table);
}

/* Not even those that are there may be called. */
static void
test_a_library_that_lacks_a_function_is_unsupported (void)
{
  static const char *const names[] = { "floor", "nbdsnap_none" };
  g_autoptr (GError) error = NULL;
  Table table = { 0 };

  g_assert_false (
      snap_library_load (LIBRARY, names, G_N_ELEMENTS (names), &table, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
  g_assert_nonnull (g_strstr_len (error->message, -1, "nbdsnap_none"));
  assert_empty (&table);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/library/functions-can-be-called",
                   test_functions_can_be_called);
  g_test_add_func ("/library/no-such-library-is-unsupported",
                   test_no_such_library_is_unsupported);
  g_test_add_func ("/library/a-library-that-lacks-a-function-is-unsupported",
                   test_a_library_that_lacks_a_function_is_unsupported);
  return g_test_run ();
}
