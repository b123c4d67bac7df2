/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A diff in one of its printed forms, streamed: extents are printed as they
 * come, and nothing but the strip keeps them.
 *
 * Every form has an end by which a reader knows that it is whole.
 */
#ifndef CLI_DIFF_PRINTER_H
#define CLI_DIFF_PRINTER_H

#include "cli/command.h"
#include "cli/progress.h"
#include "snapshot-core/service/diff.h"

typedef struct _CliDiffPrinter CliDiffPrinter;

/* A form: absent ops print nothing. */
typedef struct {
  const char *name; /* --format=NAME */

  /* Sizes and granularity of the result are known. */
  gboolean (*begin) (CliDiffPrinter *self, GError **error);
  gboolean (*extent) (CliDiffPrinter *self, const SnapExtent *extent,
                      GError **error);
  /* The result is complete. */
  gboolean (*end) (CliDiffPrinter *self, GError **error);
} CliDiffFormat;

/* Set `format` and what is borrowed; zero the rest. */
struct _CliDiffPrinter {
  const CliDiffFormat *format;
  const char *from_volume; /* references; from_volume is NULL if it is */
  const char *volume;      /* the same */
  const SnapPoint *from, *to;
  const SnapDiffResult *result;
  CliSizeStyle sizes;
  CliProgress progress;

  gboolean begun;
  gsize n_extents;
  guint64 zero_bytes;
  guint64 end;          /* of the last extent */
  SnapExtents *extents; /* kept only by a form that needs all at once */
};

void cli_diff_printer_clear (CliDiffPrinter *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (CliDiffPrinter, cli_diff_printer_clear)

/* Print one extent: a SnapExtentFunc, @printer is the CliDiffPrinter. */
gboolean cli_diff_printer_extent (const SnapExtent *extent, gpointer printer,
                                  GError **error);

/* Print the end, after a run that succeeded. */
gboolean cli_diff_printer_finish (CliDiffPrinter *self, GError **error);

/* Whether one side is the volume as it is now, which nobody retains. */
gboolean cli_diff_printer_is_live (const CliDiffPrinter *self);

/* The forms, and the one called @name, or NULL. */
extern const CliDiffFormat cli_diff_format_text;
extern const CliDiffFormat cli_diff_format_json;
extern const CliDiffFormat cli_diff_format_qemu_map;
extern const CliDiffFormat cli_diff_format_map;
extern const CliDiffFormat cli_diff_format_totals;
const CliDiffFormat *cli_diff_format_lookup (const char *name);

#endif
