/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/points.h"
#include "snapshot-core/service/activate.h"

static CliPoint *
open_point (Cli *cli, GError **error)
{
  CliPoint *self;

  if (cli->n_args != 1) {
    cli_usage (cli, error, "one VOLUME@POINT is wanted");
    return NULL;
  }
  self = cli_point_open (cli, cli->args[0], SNAP_OPEN_READ, error);
  if (self == NULL || self->point->kind == SNAP_POINT_SNAPSHOT)
    return self;
  cli_point_free (self);
  cli_usage (cli, error, "%s: is no snapshot", cli->args[0]);
  return NULL;
}

/* @path is NULL after a deactivation. */
static gboolean
print_json (Cli *cli, const CliPoint *point, const char *path, GError **error)
{
  g_autoptr (GPtrArray) snapshots =
      snap_volume_list (point->volume, cli->state, error);
  g_autoptr (JsonBuilder) json = cli_json_begin (cli->verb);
  g_autofree char *reference = NULL;

  if (snapshots == NULL)
    return FALSE;
  reference = cli_point_reference (point->volume, snapshots, point->point);
  cli_json_add_text (json, "reference", reference);
  cli_json_add_text (json, "id", point->point->id);
  if (path != NULL)
    cli_json_add_text (json, "path", path);
  return cli_json_print (json, error);
}

static gboolean
run_activate (Cli *cli, GError **error)
{
  g_autoptr (CliInterrupt) interrupt = cli_interrupt_new ();
  g_autoptr (CliPoint) point = open_point (cli, error);
  g_autofree char *path = NULL;

  if (point == NULL || !cli_interrupt_check (interrupt, error))
    return FALSE;
  path = snap_point_activate (cli->state, point->volume, point->point, error);
  if (path == NULL)
    return FALSE;
  return cli->options.json ? print_json (cli, point, path, error)
                           : cli_print_line (error, path);
}

static gboolean
run_deactivate (Cli *cli, GError **error)
{
  g_autoptr (CliInterrupt) interrupt = cli_interrupt_new ();
  g_autoptr (CliPoint) point = open_point (cli, error);

  if (point == NULL || !cli_interrupt_check (interrupt, error)
      || !snap_point_deactivate (cli->state, point->volume, point->point,
                                 error))
    return FALSE;
  return !cli->options.json || print_json (cli, point, NULL, error);
}

const CliCommand cli_command_activate = {
  .verb = "activate",
  .arguments = "VOLUME@POINT",
  .summary = "Make a snapshot a device that can be read, and print its path",
  .help =
      "Where the snapshot is a plain file already, its path is printed and\n"
      "nothing is changed.\n"
      "\n"
      "  nbdsnap activate vg0/data@mon",
  .run = run_activate,
};

const CliCommand cli_command_deactivate = {
  .verb = "deactivate",
  .arguments = "VOLUME@POINT",
  .summary = "Take the device of a snapshot away again",
  .help = "The exit code is 3 while somebody reads it.\n"
          "\n"
          "  nbdsnap deactivate vg0/data@mon",
  .run = run_deactivate,
};
