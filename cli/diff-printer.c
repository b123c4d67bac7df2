/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/diff-printer.h"

void
cli_diff_printer_clear (CliDiffPrinter *self)
{
  g_clear_pointer (&self->extents, snap_extents_unref);
}

static gboolean
begin (CliDiffPrinter *self, GError **error)
{
  if (self->begun)
    return TRUE;
  self->begun = TRUE;
  return self->format->begin == NULL || self->format->begin (self, error);
}

gboolean
cli_diff_printer_extent (const SnapExtent *extent, gpointer printer,
                         GError **error)
{
  CliDiffPrinter *self = printer;

  if (!begin (self, error)
      || (self->format->extent != NULL
          && !self->format->extent (self, extent, error)))
    return FALSE;
  self->n_extents++;
  self->end = extent->offset + extent->length;
  if (extent->flags & SNAP_EXTENT_ZERO)
    self->zero_bytes += extent->length;
  cli_progress_update (&self->progress, self->end, self->result->size);
  return TRUE;
}

gboolean
cli_diff_printer_finish (CliDiffPrinter *self, GError **error)
{
  return begin (self, error)
         && (self->format->end == NULL || self->format->end (self, error));
}

gboolean
cli_diff_printer_is_live (const CliDiffPrinter *self)
{
  return self->from->kind == SNAP_POINT_LIVE
         || self->to->kind == SNAP_POINT_LIVE;
}

const CliDiffFormat *
cli_diff_format_lookup (const char *name)
{
  static const CliDiffFormat *const formats[] = {
    &cli_diff_format_text, &cli_diff_format_json,   &cli_diff_format_qemu_map,
    &cli_diff_format_map,  &cli_diff_format_totals,
  };

  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    if (g_str_equal (formats[i]->name, name))
      return formats[i];
  return NULL;
}
