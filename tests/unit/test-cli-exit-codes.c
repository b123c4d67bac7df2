/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/exit-codes.h"

#include <gio/gio.h>

#include "snapshot-core/base/error.h"

static CliExit
exit_code_of (GQuark domain, int code)
{
  g_autoptr (GError) error = g_error_new_literal (domain, code, "a: fact");

  return cli_exit_code (error);
}

/* The numbers are the documented ones, written out. */
static void
test_every_code_has_its_documented_number (void)
{
  static const struct {
    SnapError code;
    int number;
  } documented[] = {
    { SNAP_ERROR_FAILED, 1 },      { SNAP_ERROR_USAGE, 2 },
    { SNAP_ERROR_NOT_FOUND, 1 },   { SNAP_ERROR_EXISTS, 1 },
    { SNAP_ERROR_BUSY, 3 },        { SNAP_ERROR_NOT_COMPARABLE, 5 },
    { SNAP_ERROR_UNSUPPORTED, 1 }, { SNAP_ERROR_CORRUPT, 1 },
    { SNAP_ERROR_IO, 1 },          { SNAP_ERROR_NO_SPACE, 7 },
    { SNAP_ERROR_PARTIAL, 9 },     { SNAP_ERROR_CANCELLED, 130 },
  };

  g_assert_cmpint (G_N_ELEMENTS (documented), ==, SNAP_ERROR_CANCELLED + 1);
  for (gsize i = 0; i < G_N_ELEMENTS (documented); i++)
    g_assert_cmpint (exit_code_of (SNAP_ERROR, documented[i].code), ==,
                     documented[i].number);
}

static void
test_no_error_exits_with_success (void)
{
  for (int code = -2; code < 100; code++)
    g_assert_cmpint (exit_code_of (SNAP_ERROR, code), !=, 0);
}

static void
test_a_wrong_option_is_usage (void)
{
  g_assert_cmpint (exit_code_of (G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION),
                   ==, 2);
}

static void
test_other_domains_are_plain_failures (void)
{
  g_assert_cmpint (exit_code_of (G_IO_ERROR, G_IO_ERROR_BUSY), ==, 1);
  g_assert_cmpint (exit_code_of (G_FILE_ERROR, SNAP_ERROR_CANCELLED), ==, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cli/exit-codes/every-code-has-its-documented-number",
                   test_every_code_has_its_documented_number);
  g_test_add_func ("/cli/exit-codes/no-error-exits-with-success",
                   test_no_error_exits_with_success);
  g_test_add_func ("/cli/exit-codes/a-wrong-option-is-usage",
                   test_a_wrong_option_is_usage);
  g_test_add_func ("/cli/exit-codes/other-domains-are-plain-failures",
                   test_other_domains_are_plain_failures);
  return g_test_run ();
}
