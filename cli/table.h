/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An aligned table: headings, rows of text, two spaces between columns, no
 * space at the end of a line.  Pure; cells are made safe to print.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <glib.h>

typedef enum {
  CLI_ALIGN_LEFT,
  CLI_ALIGN_RIGHT,
} CliAlign;

typedef struct {
  const char *heading;
  CliAlign align;
} CliColumn;

typedef struct _CliTable CliTable;

/* @columns is borrowed. */
CliTable *cli_table_new (const CliColumn *columns, gsize n_columns,
                         gboolean utf8);
void cli_table_free (CliTable *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (CliTable, cli_table_free)

/* Add a row of as many cells as there are columns; NULL reads "-". */
void cli_table_add (CliTable *self, const char *const *cells);

/* All of it, with the headings; the caller frees. */
char *cli_table_format (const CliTable *self);

#endif
