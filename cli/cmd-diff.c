/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/diff-printer.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/points.h"

static char *format_name;

static const GOptionEntry options[] = {
  { "format", 'f', 0, G_OPTION_ARG_STRING, &format_name,
    "text (default), json, qemu-map, map or totals", "FORMAT" },
  G_OPTION_ENTRY_NULL
};

/* The two sides. */
typedef struct {
  CliPoint from, to;
} Sides;

static void
side_clear (CliPoint *side)
{
  g_clear_pointer (&side->point, snap_point_free);
  g_clear_pointer (&side->volume, snap_volume_unref);
}

static void
sides_clear (Sides *self)
{
  side_clear (&self->from);
  side_clear (&self->to);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Sides, sides_clear)

/* ---- arguments ---- */

static const CliDiffFormat *
choose_format (const Cli *cli, GError **error)
{
  const char *name = format_name;
  const CliDiffFormat *format;

  if (name == NULL)
    name = cli->options.json ? "json" : "text";
  format = cli_diff_format_lookup (name);
  if (format == NULL) {
    cli_usage (cli, error, "--format=%s: no such format", name);
    return NULL;
  }
  if (cli->options.json && format != &cli_diff_format_json) {
    cli_usage (cli, error, "--format=%s: contradicts --json", name);
    return NULL;
  }
  return format;
}

/* ---- the points ---- */

/* A base that is gone is not just a wrong name: it calls for a full copy. */
static void
explain_lost_base (GError *error)
{
  g_autofree char *message = error->message;

  error->code = SNAP_ERROR_NOT_COMPARABLE;
  error->message = g_strconcat (message, ", so a full copy is needed", NULL);
}

/* Both volumes are open; they are looked at once for this and for the diff. */
static gboolean
find_points (Cli *cli, Sides *sides, const char *from, const char *to,
             GError **error)
{
  SnapVolume *volumes[] = { sides->from.volume, sides->to.volume };
  GError *reason = NULL;

  if (!snap_volumes_look (volumes, G_N_ELEMENTS (volumes), error))
    return FALSE;
  sides->to.point =
      snap_volume_find_point (sides->to.volume, cli->state, to, error);
  if (sides->to.point == NULL)
    return FALSE;
  sides->from.point =
      snap_volume_find_point (sides->from.volume, cli->state, from, &reason);
  if (sides->from.point != NULL)
    return TRUE;
  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND))
    explain_lost_base (reason);
  g_propagate_error (error, reason);
  return FALSE;
}

/* VOLUME@FROM..TO */
static gboolean
open_range (Cli *cli, Sides *sides, GError **error)
{
  g_autoptr (SnapReference) range =
      snap_reference_parse (cli->registry, cli->args[0], error);

  if (range == NULL)
    return FALSE;
  if (range->from == NULL)
    return cli_usage (cli, error, "%s: is no range, FROM..TO is wanted",
                      cli->args[0]);
  sides->to.volume = cli_reference_open (cli, range, SNAP_OPEN_READ, error);
  if (sides->to.volume == NULL)
    return FALSE;
  sides->from.volume = snap_volume_ref (sides->to.volume);
  return find_points (cli, sides, range->from, range->to, error);
}

/* VOLUME@FROM VOLUME@TO */
static gboolean
open_pair (Cli *cli, Sides *sides, GError **error)
{
  g_autoptr (SnapReference) from = cli_point_parse (cli, cli->args[0], error);
  g_autoptr (SnapReference) to =
      from != NULL ? cli_point_parse (cli, cli->args[1], error) : NULL;

  if (to == NULL)
    return FALSE;
  sides->to.volume = cli_reference_open (cli, to, SNAP_OPEN_READ, error);
  if (sides->to.volume == NULL)
    return FALSE;
  sides->from.volume = cli_reference_open (cli, from, SNAP_OPEN_READ, error);
  if (sides->from.volume == NULL)
    return FALSE;

  /* Two names of one volume are one volume to the service. */
  if (snap_volume_equal (sides->from.volume, sides->to.volume)) {
    snap_volume_unref (sides->from.volume);
    sides->from.volume = snap_volume_ref (sides->to.volume);
  }
  return find_points (cli, sides, from->to, to->to, error);
}

static gboolean
open_sides (Cli *cli, Sides *sides, GError **error)
{
  if (cli->n_args == 1)
    return open_range (cli, sides, error);
  if (cli->n_args == 2)
    return open_pair (cli, sides, error);
  return cli_usage (cli, error, "VOLUME@FROM..TO or two points are wanted");
}

/* ---- the run ---- */

static void
say_live (const Cli *cli, const CliDiffPrinter *printer)
{
  if (!cli->options.quiet && !cli->options.json
      && printer->format != &cli_diff_format_json)
    cli_say ("note: %s: live data is compared, so this describes no "
             "retained point",
             printer->volume);
}

static gboolean
run_diff (Cli *cli, SnapDiff *diff, const Sides *sides,
          const CliDiffFormat *format, GError **error)
{
  gboolean one_volume = sides->from.volume == sides->to.volume;
  g_autofree char *volume =
      snap_volume_format_reference (sides->to.volume, NULL);
  g_autofree char *from_volume =
      one_volume ? NULL
                 : snap_volume_format_reference (sides->from.volume, NULL);
  SnapDiffResult result = { 0 };
  g_auto (CliDiffPrinter) printer = {
    .format = format,
    .volume = volume,
    .from_volume = from_volume,
    .from = snap_diff_from (diff),
    .to = snap_diff_to (diff),
    .result = &result,
    .sizes = cli_size_style (cli),
  };
  gboolean done;

  cli_progress_init (&printer.progress, "comparing", cli->options.progress);
  done =
      snap_diff_run (diff, cli_diff_printer_extent, &printer, &result, error);
  cli_progress_clear (&printer.progress);
  if (!done || !cli_diff_printer_finish (&printer, error))
    return FALSE;
  if (cli_diff_printer_is_live (&printer))
    say_live (cli, &printer);
  return TRUE;
}

static gboolean
run (Cli *cli, GError **error)
{
  const CliDiffFormat *format = choose_format (cli, error);
  g_autoptr (CliInterrupt) interrupt = cli_interrupt_new ();
  g_auto (Sides) sides = { 0 };
  g_autoptr (SnapDiff) diff = NULL;

  if (format == NULL || !open_sides (cli, &sides, error))
    return FALSE;
  diff = snap_diff_new (cli->state, sides.from.volume, sides.from.point,
                        sides.to.volume, sides.to.point, error);
  if (diff == NULL)
    return FALSE;
  snap_diff_set_cancellable (diff, cli_interrupt_cancellable (interrupt));
  return run_diff (cli, diff, &sides, format, error);
}

const CliCommand cli_command_diff = {
  .verb = "diff",
  .arguments = "VOLUME@FROM..TO | VOLUME@FROM VOLUME@TO",
  .summary = "Tell which bytes changed from one point to another",
  .help = "A point is a snapshot or one of live, newest, backing, empty.  The\n"
          "exit code is 5 where the change cannot be proved: then a full copy\n"
          "is needed.\n"
          "\n"
          "  nbdsnap diff disk.qcow2@mon..tue\n"
          "  nbdsnap diff disk.qcow2@mon..live --format=map\n"
          "  nbdsnap diff disk.qcow2@empty..mon --json",
  .options = options,
  .run = run,
};
