/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/json.h"
#include "cli/output.h"
#include "cli/points.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "snapshot-core/service/catalogue.h"
#include "snapshot-core/service/point-words.h"

/* One volume and what it holds, or why that cannot be said. */
typedef struct {
  char *reference;
  SnapVolume *volume;
  GPtrArray *snapshots;  /* SnapPoint, and checkpoints too */
  SnapPointWords *words; /* how they are called */
  GError *error;         /* instead of volume and snapshots */
} Listing;

static void
listing_free (Listing *self)
{
  g_free (self->reference);
  snap_volume_unref (self->volume);
  g_clear_pointer (&self->words, snap_point_words_free);
  g_clear_pointer (&self->snapshots, g_ptr_array_unref);
  g_clear_error (&self->error);
  g_free (self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Listing, listing_free)

static Listing *
listing_new (Cli *cli, const char *text)
{
  Listing *self = g_new0 (Listing, 1);

  self->volume = cli_volume_open (cli, text, SNAP_OPEN_READ, &self->error);
  if (self->volume != NULL)
    self->snapshots = snap_volume_list (self->volume, cli->state, &self->error);
  if (self->snapshots != NULL)
    self->words = snap_point_words_new (self->snapshots);
  self->reference = self->volume != NULL
                        ? snap_volume_format_reference (self->volume, NULL)
                        : g_strdup (text);
  return self;
}

static GPtrArray *
new_listings (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify) listing_free);
}

/* The volumes asked for: an error of any of them is an error. */
static GPtrArray *
list_named (Cli *cli, GError **error)
{
  g_autoptr (GPtrArray) listings = new_listings ();

  for (guint i = 0; i < cli->n_args; i++) {
    g_autoptr (Listing) listing = listing_new (cli, cli->args[i]);

    if (listing->error != NULL) {
      g_propagate_error (error, g_steal_pointer (&listing->error));
      return NULL;
    }
    g_ptr_array_add (listings, g_steal_pointer (&listing));
  }
  return g_steal_pointer (&listings);
}

/* The volumes known here: one that is gone must not hide the others. */
static GPtrArray *
list_known (Cli *cli, GError **error)
{
  g_autoptr (GPtrArray) known = snap_catalogue_volumes (cli->state, error);
  g_autoptr (GPtrArray) listings = new_listings ();

  if (known == NULL)
    return NULL;
  for (guint i = 0; i < known->len; i++)
    g_ptr_array_add (listings, listing_new (cli, g_ptr_array_index (known, i)));
  return g_steal_pointer (&listings);
}

static char *
reference_of (const Listing *listing, const SnapPoint *point)
{
  return snap_volume_format_reference (
      listing->volume, snap_point_words_get (listing->words, point));
}

/* ---- JSON ---- */

static void
add_point_json (JsonBuilder *json, const Listing *listing,
                const SnapPoint *point)
{
  g_autofree char *reference = reference_of (listing, point);

  json_builder_begin_object (json);
  cli_json_add_text (json, "name", point->name);
  cli_json_add_text (json, "reference", reference);
  cli_json_add_text (json, "id", point->id);
  cli_json_add_time (json, "time", point->time_us);
  cli_json_add_uint (json, "size", point->size);
  cli_json_add_text (json, "set", point->set_id);
  cli_json_add_bool (json, "ours", point->ours);
  json_builder_end_object (json);
}

static void
add_points_json (JsonBuilder *json, const char *name, const Listing *listing,
                 SnapPointKind kind)
{
  cli_json_begin_array (json, name);
  for (guint i = 0; i < listing->snapshots->len; i++) {
    const SnapPoint *point = g_ptr_array_index (listing->snapshots, i);

    if (point->kind == kind)
      add_point_json (json, listing, point);
  }
  json_builder_end_array (json);
}

static void
add_listing_json (JsonBuilder *json, const Listing *listing)
{
  json_builder_begin_object (json);
  cli_json_add_text (json, "volume", listing->reference);
  if (listing->error != NULL) {
    cli_json_add_text (json, "error", listing->error->message);
  }
  else {
    add_points_json (json, "snapshots", listing, SNAP_POINT_SNAPSHOT);
    add_points_json (json, "checkpoints", listing, SNAP_POINT_CHECKPOINT);
  }
  json_builder_end_object (json);
}

static gboolean
print_json (const GPtrArray *listings, GError **error)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("list");

  cli_json_begin_array (json, "volumes");
  for (guint i = 0; i < listings->len; i++)
    add_listing_json (json, g_ptr_array_index (listings, i));
  json_builder_end_array (json);
  return cli_json_print (json, error);
}

/* ---- text ---- */

static gboolean
print_references (const Listing *listing, GError **error)
{
  for (guint i = 0; i < listing->snapshots->len; i++) {
    const SnapPoint *point = g_ptr_array_index (listing->snapshots, i);
    g_autofree char *reference = reference_of (listing, point);

    if (point->kind == SNAP_POINT_SNAPSHOT
        && !cli_print_line (error, reference))
      return FALSE;
  }
  return TRUE;
}

/* The name, marked if it is not enough to find this point, or none of a
   snapshot. */
static char *
display_name (const Listing *listing, const SnapPoint *point)
{
  const char *word = snap_point_words_get (listing->words, point);

  return g_strconcat (
      point->name, point->kind == SNAP_POINT_CHECKPOINT ? " (checkpoint)" : "",
      g_str_equal (word, point->name) ? "" : " (ambiguous: use the id)", NULL);
}

static gboolean
print_table (const Cli *cli, const Listing *listing, GError **error)
{
  static const CliColumn columns[] = {
    { "NAME", CLI_ALIGN_LEFT },  { "CREATED", CLI_ALIGN_LEFT },
    { "SIZE", CLI_ALIGN_RIGHT }, { "SET", CLI_ALIGN_LEFT },
    { "ID", CLI_ALIGN_LEFT },
  };
  g_autoptr (CliTable) table =
      cli_table_new (columns, G_N_ELEMENTS (columns), cli_terminal_is_utf8 ());
  g_autofree char *text = NULL;

  for (guint i = 0; i < listing->snapshots->len; i++) {
    const SnapPoint *point = g_ptr_array_index (listing->snapshots, i);
    g_autofree char *shown_name = display_name (listing, point);
    g_autofree char *created = cli_time_format (point->time_us);
    g_autofree char *size = cli_format_size (cli, point->size);
    const char *const cells[] = { shown_name, created, size, point->set_id,
                                  point->id };

    cli_table_add (table, cells);
  }
  text = cli_table_format (table);
  return cli_print (error, "%s", text);
}

/* @heading: whether a reader needs to be told which volume this is. */
static gboolean
print_listing (const Cli *cli, const Listing *listing, gboolean heading,
               GError **error)
{
  if (listing->error != NULL) {
    if (!cli->options.quiet)
      cli_say ("%s", listing->error->message);
    return TRUE;
  }
  if (cli->options.quiet)
    return print_references (listing, error);
  if (heading && !cli_print_line (error, listing->reference))
    return FALSE;
  return print_table (cli, listing, error);
}

static gboolean
run (Cli *cli, GError **error)
{
  g_autoptr (GPtrArray) listings =
      cli->n_args > 0 ? list_named (cli, error) : list_known (cli, error);

  if (listings == NULL)
    return FALSE;
  if (cli->options.json)
    return print_json (listings, error);
  for (guint i = 0; i < listings->len; i++) {
    if (i > 0 && !cli->options.quiet && !cli_print (error, "\n"))
      return FALSE;
    if (!print_listing (cli, g_ptr_array_index (listings, i), cli->n_args != 1,
                        error))
      return FALSE;
  }
  return TRUE;
}

const CliCommand cli_command_list = {
  .verb = "list",
  .arguments = "[VOLUME…]",
  .summary = "List the snapshots of volumes, oldest first",
  .help = "Without a VOLUME, lists the volumes on which sets were created\n"
          "with this state directory.  With --quiet, prints only references,\n"
          "one a line.\n"
          "\n"
          "  nbdsnap list disk.qcow2\n"
          "  nbdsnap list --json | jq '.volumes[].snapshots[].reference'",
  .run = run,
};
