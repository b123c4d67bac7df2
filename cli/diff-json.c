/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Diffs for programs: our own JSON, and that of `qemu-img map`.
 *
 * Of our own, the head and the tail are objects made by the JSON library,
 * opened up; the extents between them are printed as they come.
 */
#include "config.h"

#include "cli/diff-printer.h"

#include <string.h>

#include "cli/json.h"
#include "cli/output.h"

/* ---- json ---- */

static gboolean
json_begin (CliDiffPrinter *self, GError **error)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("diff");
  g_autofree char *head = NULL;

  cli_json_add_text (json, "volume", self->volume);
  if (self->from_volume != NULL)
    cli_json_add_text (json, "from_volume", self->from_volume);
  cli_json_add_text (json, "from", self->from->name);
  cli_json_add_text (json, "from_id", self->from->id);
  cli_json_add_text (json, "to", self->to->name);
  cli_json_add_text (json, "to_id", self->to->id);
  cli_json_add_bool (json, "retained", !cli_diff_printer_is_live (self));
  cli_json_add_uint (json, "from_size", self->result->from_size);
  cli_json_add_uint (json, "size", self->result->size);
  cli_json_add_uint (json, "granularity", self->result->info.granularity);
  head = cli_json_end (json);
  return cli_print (error, "%.*s,\"extents\":[", (int) strlen (head) - 1, head);
}

static gboolean
json_extent (CliDiffPrinter *self, const SnapExtent *extent, GError **error)
{
  return cli_print (error,
                    "%s{\"offset\":%" G_GUINT64_FORMAT
                    ",\"length\":%" G_GUINT64_FORMAT ",\"zero\":%s}",
                    self->n_extents > 0 ? "," : "", extent->offset,
                    extent->length,
                    extent->flags & SNAP_EXTENT_ZERO ? "true" : "false");
}

static gboolean
json_end (CliDiffPrinter *self, GError **error)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  g_autofree char *tail = NULL;

  json_builder_begin_object (json);
  cli_json_add_text (json, "proof", snap_proof_name (self->result->info.proof));
  cli_json_add_text (json, "source", self->result->info.source);
  cli_json_add_uint (json, "dirty_bytes", self->result->dirty_bytes);
  cli_json_add_bool (json, "complete", TRUE);
  tail = cli_json_end (json);
  return cli_print (error, "],%s\n", tail + 1);
}

const CliDiffFormat cli_diff_format_json = {
  .name = "json",
  .begin = json_begin,
  .extent = json_extent,
  .end = json_end,
};

/* ---- qemu-map ---- */

/* What an entry says in the words of an overlay that holds what is dirty. */
typedef struct {
  const char *present, *zero, *data;
} MapState;

static const MapState map_clean = { "false", "false", "false" };
static const MapState map_zero = { "true", "true", "false" };
static const MapState map_data = { "true", "false", "true" };

static gboolean
print_map_entry (guint64 start, guint64 length, const MapState *state,
                 GError **error)
{
  return cli_print (error,
                    "%s{ \"start\": %" G_GUINT64_FORMAT
                    ", \"length\": %" G_GUINT64_FORMAT
                    ", \"depth\": 0, \"present\": %s, \"zero\": %s, "
                    "\"data\": %s}",
                    start == 0 ? "[" : ",\n", start, length, state->present,
                    state->zero, state->data);
}

/* The clean range between the last extent and @end, if there is one. */
static gboolean
print_map_gap (const CliDiffPrinter *self, guint64 end, GError **error)
{
  return end == self->end
         || print_map_entry (self->end, end - self->end, &map_clean, error);
}

static gboolean
qemu_map_extent (CliDiffPrinter *self, const SnapExtent *extent, GError **error)
{
  gboolean zero = (extent->flags & SNAP_EXTENT_ZERO) != 0;

  return print_map_gap (self, extent->offset, error)
         && print_map_entry (extent->offset, extent->length,
                             zero ? &map_zero : &map_data, error);
}

/* Also of nothing qemu-img prints one entry, of length 0. */
static gboolean
qemu_map_end (CliDiffPrinter *self, GError **error)
{
  guint64 size = self->result->size;

  if (size == 0 && !print_map_entry (0, 0, &map_clean, error))
    return FALSE;
  return print_map_gap (self, size, error) && cli_print (error, "]\n");
}

const CliDiffFormat cli_diff_format_qemu_map = {
  .name = "qemu-map",
  .extent = qemu_map_extent,
  .end = qemu_map_end,
};
