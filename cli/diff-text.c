/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Diffs for people: a line an extent, a strip, or only the sums.
 */
#include "config.h"

#include "cli/diff-printer.h"

#include "cli/output.h"
#include "cli/strip.h"
#include "cli/table.h"
#include "cli/terminal.h"

/* ---- text ---- */

/* Of a 64-bit number. */
#define MAX_DIGITS 20

/* As wide as the largest number that can come. */
static int
offset_width (const CliDiffPrinter *self)
{
  guint64 rest = self->result->size;
  int width = 1;

  while ((rest /= 10) > 0)
    width++;
  return width;
}

/* Write the number so that its last digit is at @end - 1, with blanks before
   it from @begin on. */
static void
put_number (char *begin, char *end, guint64 number)
{
  do {
    *--end = (char) ('0' + number % 10);
    number /= 10;
  } while (number > 0);
  while (end > begin)
    *--end = ' ';
}

/* There may be millions, and printf takes three times as long. */
static gboolean
text_extent (CliDiffPrinter *self, const SnapExtent *extent, GError **error)
{
  int width = offset_width (self);
  gboolean is_zero = (extent->flags & SNAP_EXTENT_ZERO) != 0;
  const char *kind = is_zero ? " dirty,zero\n" : " dirty\n";
  char line[2 * MAX_DIGITS + sizeof "  dirty,zero\n"];
  char *at = line + width;

  put_number (line, at, extent->offset);
  *at++ = ' ';
  put_number (at, at + width, extent->length);
  at = g_stpcpy (at + width, kind);
  return cli_print_bytes (error, line, (gsize) (at - line));
}

static gboolean
text_end (CliDiffPrinter *self, GError **error)
{
  return cli_print (error, "# end %" G_GSIZE_FORMAT " extents\n",
                    self->n_extents);
}

const CliDiffFormat cli_diff_format_text = {
  .name = "text",
  .extent = text_extent,
  .end = text_end,
};

/* ---- map ---- */

static gboolean
map_extent (CliDiffPrinter *self, const SnapExtent *extent, GError **error)
{
  if (self->extents == NULL)
    self->extents = snap_extents_new ();
  return snap_extents_append_func (extent, self->extents, error);
}

static gboolean
map_end (CliDiffPrinter *self, GError **error)
{
  const SnapDiffResult *result = self->result;
  const CliStripStyle style = {
    .width = cli_terminal_width (),
    .utf8 = cli_terminal_is_utf8 (),
    .colour = cli_terminal_has_colour (),
  };
  g_autofree char *dirty = cli_size_format (result->dirty_bytes, self->sizes);
  g_autofree char *size = cli_size_format (result->size, self->sizes);
  g_autofree char *percent =
      cli_percent_format (result->dirty_bytes, result->size);
  g_autofree char *strip = NULL;

  if (self->extents == NULL)
    self->extents = snap_extents_new ();
  strip = cli_strip_draw (self->extents, result->size, &style);
  return cli_print (error,
                    "%s %s of %s dirty (%s), %" G_GSIZE_FORMAT " extents\n",
                    strip, dirty, size, percent, self->n_extents);
}

const CliDiffFormat cli_diff_format_map = {
  .name = "map",
  .extent = map_extent,
  .end = map_end,
};

/* ---- totals ---- */

static void
add_total (const CliDiffPrinter *self, CliTable *table, const char *kind,
           guint64 bytes)
{
  g_autofree char *shown = cli_size_format (bytes, self->sizes);
  g_autofree char *percent = cli_percent_format (bytes, self->result->size);
  const char *const cells[] = { kind, shown, percent };

  cli_table_add (table, cells);
}

static gboolean
totals_end (CliDiffPrinter *self, GError **error)
{
  static const CliColumn columns[] = {
    { "KIND", CLI_ALIGN_LEFT },
    { "SIZE", CLI_ALIGN_RIGHT },
    { "SHARE", CLI_ALIGN_RIGHT },
  };
  const SnapDiffResult *result = self->result;
  g_autoptr (CliTable) table =
      cli_table_new (columns, G_N_ELEMENTS (columns), cli_terminal_is_utf8 ());
  g_autofree char *granularity =
      cli_size_format (result->info.granularity, self->sizes);
  g_autofree char *text = NULL;

  add_total (self, table, "dirty", result->dirty_bytes - self->zero_bytes);
  add_total (self, table, "dirty,zero", self->zero_bytes);
  add_total (self, table, "clean", result->size - result->dirty_bytes);
  add_total (self, table, "all", result->size);
  text = cli_table_format (table);
  return cli_print (
      error, "%s# %" G_GSIZE_FORMAT " extents, granularity %s, %s by %s\n",
      text, self->n_extents, granularity, snap_proof_name (result->info.proof),
      result->info.source);
}

const CliDiffFormat cli_diff_format_totals = {
  .name = "totals",
  .end = totals_end,
};
