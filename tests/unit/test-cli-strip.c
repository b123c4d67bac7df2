/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/strip.h"

#include <string.h>

#define DIRTY SNAP_EXTENT_DIRTY
#define ZERO (SNAP_EXTENT_DIRTY | SNAP_EXTENT_ZERO)

/* Ten columns of 100 bytes each, in ASCII. */
static const CliStripStyle ten_columns = { .width = 12 };
#define TEN_SIZE 1000

/* The strip itself: the first line, without the newline. */
static char *
draw_strip (const SnapExtents *dirty, guint64 size, const CliStripStyle *style)
{
  g_autofree char *text = cli_strip_draw (dirty, size, style);

  return g_strndup (text, strcspn (text, "\n"));
}

static void
assert_strip (const SnapExtents *dirty, const char *expected)
{
  g_autofree char *strip = draw_strip (dirty, TEN_SIZE, &ten_columns);

  g_assert_cmpstr (strip, ==, expected);
}

static void
test_clean_volume_is_all_clean (void)
{
  g_autoptr (SnapExtents) none = snap_extents_new ();

  assert_strip (none, "|..........|");
}

static void
test_full_columns_are_full_and_others_are_not (void)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();

  snap_extents_append (dirty, 100, 200, DIRTY);
  snap_extents_append (dirty, 500, 20, DIRTY);
  snap_extents_append (dirty, 600, 60, DIRTY);
  snap_extents_append (dirty, 950, 50, ZERO);
  assert_strip (dirty, "|.##..-*..O|");
}

/* Promise: one dirty byte anywhere is seen. */
static void
test_one_dirty_byte_is_seen_in_its_column (void)
{
  for (guint64 at = 0; at < TEN_SIZE; at++) {
    g_autoptr (SnapExtents) dirty = snap_extents_new ();
    g_autofree char *strip = NULL;

    snap_extents_append (dirty, at, 1, at % 2 == 0 ? DIRTY : ZERO);
    strip = draw_strip (dirty, TEN_SIZE, &ten_columns);
    for (gsize column = 0; column < 10; column++)
      g_assert_cmpint (strip[1 + column], ==,
                       column != at / 100 ? '.'
                       : at % 2 == 0      ? '-'
                                          : 'o');
  }
}

static void
test_extent_over_many_columns_marks_all_of_them (void)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();

  snap_extents_append (dirty, 199, 602, DIRTY);
  assert_strip (dirty, "|.-######-.|");
}

static void
test_mostly_zeroed_column_is_drawn_as_zeroed (void)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();

  snap_extents_append (dirty, 0, 10, DIRTY);
  snap_extents_append (dirty, 10, 11, ZERO);
  snap_extents_append (dirty, 100, 11, DIRTY);
  snap_extents_append (dirty, 111, 10, ZERO);
  assert_strip (dirty, "|o-........|");
}

static void
test_largest_volume_does_not_overflow (void)
{
  const guint64 size = G_MAXINT64;
  const CliStripStyle style = { .width = 102 };
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autofree char *strip = NULL;

  snap_extents_append (dirty, 0, size - 1, DIRTY);
  strip = draw_strip (dirty, size, &style);
  g_assert_cmpint (strlen (strip), ==, 102);
  g_assert_cmpint (strspn (strip + 1, "#"), ==, 100);
}

static void
test_tiny_and_empty_volumes_can_be_drawn (void)
{
  const CliStripStyle style = { .width = 80, .utf8 = TRUE };
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autofree char *empty = cli_strip_draw (dirty, 0, &style);
  g_autofree char *strip = NULL;

  g_assert_cmpstr (empty, ==, " (an empty volume)\n");
  snap_extents_append (dirty, 1, 1, DIRTY);
  strip = draw_strip (dirty, 3, &style);
  g_assert_cmpstr (strip, ==, "│·█·│");
}

static void
test_every_line_fits_the_width (void)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();

  snap_extents_append (dirty, 0, 5 << 20, DIRTY);
  for (guint width = 60; width < 200; width++) {
    const CliStripStyle style = { .width = width, .utf8 = TRUE };
    g_autofree char *text = cli_strip_draw (dirty, 7 << 20, &style);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);

    g_assert_cmpint (g_utf8_strlen (lines[0], -1), ==, width);
    for (gsize i = 0; lines[i] != NULL; i++)
      g_assert_cmpint (g_utf8_strlen (lines[i], -1), <=, width);
  }
}

static void
test_ruler_ends_with_the_size (void)
{
  const CliStripStyle style = { .width = 82 };
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autofree char *text = cli_strip_draw (dirty, 64 << 20, &style);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);

  g_assert_true (g_str_has_prefix (lines[1], " 0 B  "));
  g_assert_true (g_str_has_suffix (lines[1], " 64.0 MiB"));
  g_assert_cmpint (strlen (lines[1]), ==, 82);
  g_assert_nonnull (strstr (lines[2], "one column: 819.2 KiB"));
}

static void
test_colour_is_there_only_when_asked_and_is_switched_off_again (void)
{
  const CliStripStyle plain = { .width = 12 };
  const CliStripStyle coloured = { .width = 12, .colour = TRUE };
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autofree char *without = NULL;
  g_autofree char *with = NULL;

  snap_extents_append (dirty, 900, 100, DIRTY);
  without = cli_strip_draw (dirty, TEN_SIZE, &plain);
  with = draw_strip (dirty, TEN_SIZE, &coloured);
  g_assert_null (strchr (without, '\033'));
  g_assert_cmpstr (with, ==, "|\033[2m.........\033[0m\033[1;31m#\033[0m|");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cli/strip/clean-volume-is-all-clean",
                   test_clean_volume_is_all_clean);
  g_test_add_func ("/cli/strip/full-columns-are-full-and-others-are-not",
                   test_full_columns_are_full_and_others_are_not);
  g_test_add_func ("/cli/strip/one-dirty-byte-is-seen-in-its-column",
                   test_one_dirty_byte_is_seen_in_its_column);
  g_test_add_func ("/cli/strip/extent-over-many-columns-marks-all-of-them",
                   test_extent_over_many_columns_marks_all_of_them);
  g_test_add_func ("/cli/strip/mostly-zeroed-column-is-drawn-as-zeroed",
                   test_mostly_zeroed_column_is_drawn_as_zeroed);
  g_test_add_func ("/cli/strip/largest-volume-does-not-overflow",
                   test_largest_volume_does_not_overflow);
  g_test_add_func ("/cli/strip/tiny-and-empty-volumes-can-be-drawn",
                   test_tiny_and_empty_volumes_can_be_drawn);
  g_test_add_func ("/cli/strip/every-line-fits-the-width",
                   test_every_line_fits_the_width);
  g_test_add_func ("/cli/strip/ruler-ends-with-the-size",
                   test_ruler_ends_with_the_size);
  g_test_add_func (
      "/cli/strip/colour-is-there-only-when-asked-and-switched-off-again",
      test_colour_is_there_only_when_asked_and_is_switched_off_again);
  return g_test_run ();
}
