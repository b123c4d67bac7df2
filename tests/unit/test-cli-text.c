/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/text.h"
#include "snapshot-core/base/text.h"

#include "cli/table.h"

static void
assert_escaped (const char *text, gboolean utf8, const char *expected)
{
  g_autofree char *escaped = snap_text_escape (text, utf8);

  g_assert_cmpstr (escaped, ==, expected);
}

static void
test_control_characters_never_pass (void)
{
  for (int c = 1; c < 256; c++) {
    const char text[] = { 'a', (char) c, 'b', '\0' };
    g_autofree char *escaped = snap_text_escape (text, TRUE);

    for (const char *at = escaped; *at != '\0'; at++)
      g_assert_true (g_ascii_isprint (*at));
  }
  assert_escaped ("a\nb\033[31m\x7f", TRUE, "a\\x0ab\\x1b[31m\\x7f");
  assert_escaped ("\xc2\x9b"
                  "31m",
                  TRUE, "\\xc2\\x9b31m");
}

static void
test_text_that_turns_direction_is_escaped (void)
{
  assert_escaped ("a\u202eb", TRUE, "a\\xe2\\x80\\xaeb");
  assert_escaped ("a\u2028b", TRUE, "a\\xe2\\x80\\xa8b");
}

static void
test_letters_pass_only_where_they_can_be_shown (void)
{
  assert_escaped ("grün ✓", TRUE, "grün ✓");
  assert_escaped ("grün", FALSE, "gr\\xc3\\xbcn");
  assert_escaped ("\xff\xc3", TRUE, "\\xff\\xc3");
}

static void
assert_size (guint64 bytes, const char *expected)
{
  g_autofree char *human = cli_size_format (bytes, CLI_SIZE_HUMAN);
  g_autofree char *exact = cli_size_format (bytes, CLI_SIZE_BYTES);
  g_autofree char *digits = g_strdup_printf ("%" G_GUINT64_FORMAT, bytes);

  g_assert_cmpstr (human, ==, expected);
  g_assert_cmpstr (exact, ==, digits);
}

static void
test_sizes_are_rounded_to_a_tenth (void)
{
  assert_size (0, "0 B");
  assert_size (1023, "1023 B");
  assert_size (1024, "1.0 KiB");
  assert_size (1536, "1.5 KiB");
  assert_size (G_GUINT64_CONSTANT (64) << 20, "64.0 MiB");
  assert_size ((G_GUINT64_CONSTANT (3) << 40) + (G_GUINT64_CONSTANT (1) << 38),
               "3.3 TiB");
  assert_size (G_MAXUINT64, "16.0 EiB");
}

static void
test_rounding_never_shows_1024_of_a_unit (void)
{
  for (guint bits = 20; bits <= 60; bits += 10)
    for (guint64 below = 1; below < 64; below *= 3) {
      guint64 bytes = (G_GUINT64_CONSTANT (1) << bits) - below;
      g_autofree char *human = cli_size_format (bytes, CLI_SIZE_HUMAN);

      g_assert_false (g_str_has_prefix (human, "1024"));
    }
  assert_size ((1 << 20) - 1, "1.0 MiB");
}

static void
assert_percent (guint64 part, guint64 whole, const char *expected)
{
  g_autofree char *percent = cli_percent_format (part, whole);

  g_assert_cmpstr (percent, ==, expected);
}

static void
test_something_never_reads_as_nothing_nor_as_all (void)
{
  assert_percent (0, 100, "0.0 %");
  assert_percent (1, G_MAXUINT64, "< 0.1 %");
  assert_percent (125, 1000, "12.5 %");
  assert_percent (99999, 100000, "> 99.9 %");
  assert_percent (100, 100, "100.0 %");
  assert_percent (0, 0, "0.0 %");
}

static void
assert_time (gint64 time_us, const char *expected)
{
  g_autofree char *text = cli_time_format (time_us);

  g_assert_cmpstr (text, ==, expected);
}

static void
test_times_are_rfc_3339_in_utc (void)
{
  assert_time (0, "-");
  assert_time (1 * G_USEC_PER_SEC, "1970-01-01T00:00:01Z");
  assert_time (G_GINT64_CONSTANT (1795407300) * G_USEC_PER_SEC + 999999,
               "2026-11-23T04:15:00Z");
  assert_time (G_GINT64_CONSTANT (4102444799) * G_USEC_PER_SEC,
               "2099-12-31T23:59:59Z");
}

static void
test_columns_line_up_whatever_they_hold (void)
{
  static const CliColumn columns[] = { { "NAME", CLI_ALIGN_LEFT },
                                       { "SIZE", CLI_ALIGN_RIGHT },
                                       { "ID", CLI_ALIGN_LEFT } };
  static const char *const rows[][3] = { { "mon", "1.0 MiB", "1" },
                                         { "grün", "12 B", NULL },
                                         { "日", "0 B", "x\ty" } };
  g_autoptr (CliTable) table = cli_table_new (columns, 3, TRUE);
  g_autofree char *text = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++)
    cli_table_add (table, rows[i]);
  text = cli_table_format (table);
  g_assert_cmpstr (text, ==,
                   "NAME     SIZE  ID\n"
                   "mon   1.0 MiB  1\n"
                   "grün     12 B  -\n"
                   "日        0 B  x\\x09y\n");
}

static void
test_no_line_ends_in_a_space (void)
{
  static const CliColumn columns[] = { { "A", CLI_ALIGN_LEFT },
                                       { "LONG", CLI_ALIGN_LEFT } };
  static const char *const row[] = { "a", "b" };
  g_autoptr (CliTable) table = cli_table_new (columns, 2, FALSE);
  g_autofree char *text = NULL;

  cli_table_add (table, row);
  text = cli_table_format (table);
  g_assert_cmpstr (text, ==, "A  LONG\na  b\n");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cli/text/control-characters-never-pass",
                   test_control_characters_never_pass);
  g_test_add_func ("/cli/text/text-that-turns-direction-is-escaped",
                   test_text_that_turns_direction_is_escaped);
  g_test_add_func ("/cli/text/letters-pass-only-where-they-can-be-shown",
                   test_letters_pass_only_where_they_can_be_shown);
  g_test_add_func ("/cli/size/sizes-are-rounded-to-a-tenth",
                   test_sizes_are_rounded_to_a_tenth);
  g_test_add_func ("/cli/size/rounding-never-shows-1024-of-a-unit",
                   test_rounding_never_shows_1024_of_a_unit);
  g_test_add_func ("/cli/percent/something-never-reads-as-nothing-nor-as-all",
                   test_something_never_reads_as_nothing_nor_as_all);
  g_test_add_func ("/cli/time/times-are-rfc-3339-in-utc",
                   test_times_are_rfc_3339_in_utc);
  g_test_add_func ("/cli/table/columns-line-up-whatever-they-hold",
                   test_columns_line_up_whatever_they_hold);
  g_test_add_func ("/cli/table/no-line-ends-in-a-space",
                   test_no_line_ends_in_a_space);
  return g_test_run ();
}
