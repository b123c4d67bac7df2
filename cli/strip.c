/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/strip.h"

#include "cli/text.h"

#include <string.h>

/* How a column looks, from the least to the most of it dirty. */
typedef struct {
  const char *frame;
  const char *clean;
  const char *data[8];
  const char *zero[4];
  const char *legend; /* how the levels of data, and of zero, are named */
  const char *legend_zero;
} Glyphs;

static const Glyphs block_glyphs = {
  .frame = "│",
  .clean = "·",
  .data = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" },
  .zero = { "░", "░", "▒", "▓" },
  .legend = "▁…█",
  .legend_zero = "░▒▓",
};

static const Glyphs ascii_glyphs = {
  .frame = "|",
  .clean = ".",
  .data = { "-", "-", "+", "+", "*", "*", "#", "#" },
  .zero = { "o", "o", "O", "O" },
  .legend = "-+*#",
  .legend_zero = "oO",
};

#define COLOUR_CLEAN "\033[2m"
#define COLOUR_DATA "\033[1;31m"
#define COLOUR_ZERO "\033[1;36m"
#define COLOUR_END "\033[0m"

/* One column: how many of its bytes are dirty, and how many of those zero. */
typedef struct {
  guint64 length;
  guint64 dirty;
  guint64 zero;
} Column;

/* Where column @index of @n begins; without a product that could wrap. */
static guint64
column_start (guint64 size, guint64 index, guint64 n)
{
  return size / n * index + size % n * index / n;
}

static Column *
measure_columns (const SnapExtents *dirty, guint64 size, gsize n_columns)
{
  Column *columns = g_new0 (Column, n_columns);
  gsize next = 0; /* the first extent that does not end before the column */

  for (gsize i = 0; i < n_columns; i++) {
    guint64 start = column_start (size, i, n_columns);
    guint64 end = column_start (size, i + 1, n_columns);

    columns[i].length = end - start;
    for (; next < snap_extents_n (dirty); next++) {
      const SnapExtent *extent = snap_extents_at (dirty, next);
      guint64 extent_end = extent->offset + extent->length;
      guint64 from = MAX (extent->offset, start);
      guint64 to = MIN (extent_end, end);

      if (from < to) {
        columns[i].dirty += to - from;
        if (extent->flags & SNAP_EXTENT_ZERO)
          columns[i].zero += to - from;
      }
      if (extent_end > end)
        break;
    }
  }
  return columns;
}

/* The level of @n that a share of a column has: 0 only for the lowest. */
static gsize
level (const Column *column, gsize n)
{
  double share = (double) column->dirty / (double) column->length;

  return MIN ((gsize) (share * (double) n), n - 1);
}

static void
append_coloured (GString *text, const char *glyph, const char *colour,
                 const CliStripStyle *style, const char **current)
{
  if (style->colour && colour != *current) {
    if (*current != NULL)
      g_string_append (text, COLOUR_END);
    if (colour != NULL)
      g_string_append (text, colour);
    *current = colour;
  }
  g_string_append (text, glyph);
}

static void
append_column (GString *text, const Column *column, const Glyphs *glyphs,
               const CliStripStyle *style, const char **current)
{
  const char *glyph = glyphs->clean;
  const char *colour = COLOUR_CLEAN;

  if (column->dirty > 0 && column->zero > column->dirty / 2) {
    glyph = glyphs->zero[level (column, G_N_ELEMENTS (glyphs->zero))];
    colour = COLOUR_ZERO;
  }
  else if (column->dirty > 0) {
    glyph = glyphs->data[level (column, G_N_ELEMENTS (glyphs->data))];
    colour = COLOUR_DATA;
  }
  append_coloured (text, glyph, colour, style, current);
}

/* Sizes under the columns at the quarters, as far as there is room. */
static void
append_ruler (GString *text, guint64 size, gsize n_columns)
{
  gsize used = 1; /* under the frame */

  g_string_append_c (text, ' ');
  for (guint quarter = 0; quarter <= 4; quarter++) {
    g_autofree char *label =
        cli_size_format (column_start (size, quarter, 4), CLI_SIZE_HUMAN);
    gsize width = strlen (label);
    gsize at = 1 + n_columns * quarter / 4;

    if (quarter == 4) /* the end of the volume: right under the frame */
      at = n_columns + 2 > width ? n_columns + 2 - width : 0;
    if (at < used || (quarter > 0 && at < used + 1)
        || at + width > n_columns + 2)
      continue;
    g_string_append_printf (text, "%*s%s", (int) (at - used), "", label);
    used = at + width;
  }
  g_string_append_c (text, '\n');
}

static void
append_legend (GString *text, guint64 size, gsize n_columns,
               const Glyphs *glyphs)
{
  g_autofree char *scale =
      cli_size_format ((size + n_columns - 1) / n_columns, CLI_SIZE_HUMAN);

  g_string_append_printf (text,
                          " %s unchanged  %s changed  %s zeroed"
                          "  one column: %s\n",
                          glyphs->clean, glyphs->legend, glyphs->legend_zero,
                          scale);
}

char *
cli_strip_draw (const SnapExtents *dirty, guint64 size,
                const CliStripStyle *style)
{
  const Glyphs *glyphs = style->utf8 ? &block_glyphs : &ascii_glyphs;
  gsize n_columns = MIN (MAX (style->width, 8) - 2, size);
  g_autofree Column *columns = NULL;
  const char *current = NULL;
  GString *text;

  if (size == 0)
    return g_strdup (" (an empty volume)\n");
  columns = measure_columns (dirty, size, n_columns);
  text = g_string_new (glyphs->frame);
  for (gsize i = 0; i < n_columns; i++)
    append_column (text, &columns[i], glyphs, style, &current);
  append_coloured (text, glyphs->frame, NULL, style, &current);
  g_string_append_c (text, '\n');
  append_ruler (text, size, n_columns);
  append_legend (text, size, n_columns, glyphs);
  return g_string_free (text, FALSE);
}
