/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/leftovers.h"
#include "cli/output.h"
#include "cli/points.h"
#include "snapshot-core/service/set.h"

static gboolean dry_run;

static const GOptionEntry options[] = {
  { "dry-run", 'n', 0, G_OPTION_ARG_NONE, &dry_run,
    "Check everything, say what would be deleted, delete nothing", NULL },
  G_OPTION_ENTRY_NULL
};

/* What goes, with the references taken while it is all still there. */
typedef struct {
  GPtrArray *points;     /* CliPoint */
  GPtrArray *references; /* char * */
  GArray *members;       /* SnapSetMember, borrowing from points */
} Doomed;

static void
doomed_clear (Doomed *self)
{
  g_clear_pointer (&self->members, g_array_unref);
  g_clear_pointer (&self->references, g_ptr_array_unref);
  g_clear_pointer (&self->points, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Doomed, doomed_clear)

static gboolean
add_member (Cli *cli, Doomed *doomed, const CliPoint *point, const char *text,
            GError **error)
{
  SnapSetMember member = { point->volume, point->point };
  g_autoptr (GPtrArray) snapshots = NULL;

  /* A checkpoint that we made is ours to delete, too. */
  if (point->point->kind != SNAP_POINT_SNAPSHOT && !point->point->ours)
    return cli_usage (cli, error, "%s: is no snapshot", text);
  snapshots = snap_volume_list (point->volume, cli->state, error);
  if (snapshots == NULL)
    return FALSE;
  g_ptr_array_add (
      doomed->references,
      cli_point_reference (point->volume, snapshots, point->point));
  g_array_append_val (doomed->members, member);
  return TRUE;
}

static gboolean
collect (Cli *cli, Doomed *doomed, GError **error)
{
  doomed->points = cli_points_open (cli, cli->args, SNAP_OPEN_MANAGE, error);
  if (doomed->points == NULL)
    return FALSE;
  doomed->references = g_ptr_array_new_with_free_func (g_free);
  doomed->members = g_array_new (FALSE, FALSE, sizeof (SnapSetMember));
  for (guint i = 0; i < doomed->points->len; i++)
    if (!add_member (cli, doomed, g_ptr_array_index (doomed->points, i),
                     cli->args[i], error))
      return FALSE;
  return TRUE;
}

/* A signal does not stop a deletion half-way. */
static gboolean
delete_all (Cli *cli, Doomed *doomed, GError **error)
{
  g_autoptr (CliInterrupt) interrupt = cli_interrupt_new ();

  return cli_leftovers_finish (cli, error) && collect (cli, doomed, error)
         && cli_interrupt_check (interrupt, error)
         && snap_set_delete (cli->state,
                             &g_array_index (doomed->members, SnapSetMember, 0),
                             doomed->members->len, error);
}

static gboolean
check_all (Cli *cli, Doomed *doomed, GError **error)
{
  return collect (cli, doomed, error)
         && snap_set_check_delete (
             cli->state, &g_array_index (doomed->members, SnapSetMember, 0),
             doomed->members->len, error);
}

static gboolean
print_json (const Doomed *doomed, GError **error)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("delete");

  cli_json_add_bool (json, "dry_run", dry_run);
  cli_json_begin_array (json, "deleted");
  for (guint i = 0; i < doomed->points->len; i++) {
    const CliPoint *point = g_ptr_array_index (doomed->points, i);

    json_builder_begin_object (json);
    cli_json_add_text (json, "reference",
                       g_ptr_array_index (doomed->references, i));
    cli_json_add_text (json, "id", point->point->id);
    json_builder_end_object (json);
  }
  json_builder_end_array (json);
  return cli_json_print (json, error);
}

static gboolean
print_text (const Cli *cli, const Doomed *doomed, GError **error)
{
  if (cli->options.quiet)
    return TRUE;
  for (guint i = 0; i < doomed->references->len; i++)
    if (!cli_print (error, dry_run ? "would delete " : "deleted ")
        || !cli_print_line (error, g_ptr_array_index (doomed->references, i)))
      return FALSE;
  return TRUE;
}

static gboolean
run (Cli *cli, GError **error)
{
  g_auto (Doomed) doomed = { 0 };

  if (cli->n_args == 0)
    return cli_usage (cli, error, "no snapshot is named");
  if (!(dry_run ? check_all : delete_all) (cli, &doomed, error))
    return FALSE;
  return cli->options.json ? print_json (&doomed, error)
                           : print_text (cli, &doomed, error);
}

const CliCommand cli_command_delete = {
  .verb = "delete",
  .arguments = "VOLUME@POINT…",
  .summary = "Delete snapshots that nbdsnap created, all or none",
  .help = "The exit code is 3 while one of them is held by an export or a\n"
          "diff.  Snapshots made by others are never deleted.\n"
          "\n"
          "  nbdsnap delete --dry-run disk.qcow2@mon\n"
          "  nbdsnap delete disk.qcow2@mon data.qcow2@mon",
  .options = options,
  .run = run,
};
