/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/table.h"

#include "cli/text.h"
#include "snapshot-core/base/text.h"

struct _CliTable {
  const CliColumn *columns;
  gsize n_columns;
  gboolean utf8;
  GPtrArray *rows; /* char **, the headings first */
  gsize *widths;   /* one a column */
};

static void
take_row (CliTable *self, char **row)
{
  for (gsize i = 0; i < self->n_columns; i++)
    self->widths[i] = MAX (self->widths[i], cli_text_width (row[i]));
  g_ptr_array_add (self->rows, row);
}

CliTable *
cli_table_new (const CliColumn *columns, gsize n_columns, gboolean utf8)
{
  CliTable *self = g_new0 (CliTable, 1);
  char **headings = g_new0 (char *, n_columns + 1);

  self->columns = columns;
  self->n_columns = n_columns;
  self->utf8 = utf8;
  self->rows = g_ptr_array_new_with_free_func ((GDestroyNotify) g_strfreev);
  self->widths = g_new0 (gsize, n_columns);
  for (gsize i = 0; i < n_columns; i++)
    headings[i] = g_strdup (columns[i].heading);
  take_row (self, headings);
  return self;
}

void
cli_table_free (CliTable *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref (self->rows);
  g_free (self->widths);
  g_free (self);
}

void
cli_table_add (CliTable *self, const char *const *cells)
{
  char **row = g_new0 (char *, self->n_columns + 1);

  for (gsize i = 0; i < self->n_columns; i++)
    row[i] = snap_text_escape (cells[i] != NULL ? cells[i] : "-", self->utf8);
  take_row (self, row);
}

static void
append_padding (GString *line, gsize width)
{
  g_string_append_printf (line, "%*s", (int) width, "");
}

static void
append_row (const CliTable *self, char *const *row, GString *text)
{
  g_autoptr (GString) line = g_string_new (NULL);
  gsize pending = 0; /* spaces that are due only if more text follows */

  for (gsize i = 0; i < self->n_columns; i++) {
    gsize padding = self->widths[i] - cli_text_width (row[i]);
    gboolean right = self->columns[i].align == CLI_ALIGN_RIGHT;

    append_padding (line, pending + (right ? padding : 0));
    g_string_append (line, row[i]);
    pending = 2 + (right ? 0 : padding);
  }
  g_string_append_printf (text, "%s\n", line->str);
}

char *
cli_table_format (const CliTable *self)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < self->rows->len; i++)
    append_row (self, g_ptr_array_index (self->rows, i), text);
  return g_string_free (text, FALSE);
}
