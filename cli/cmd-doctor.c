/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/leftovers.h"
#include "cli/output.h"
#include "snapshot-core/service/set.h"

static gboolean dry_run;
static char *forget;

static const GOptionEntry options[] = {
  { "dry-run", 'n', 0, G_OPTION_ARG_NONE, &dry_run,
    "Only list what is unfinished", NULL },
  { "forget", 0, 0, G_OPTION_ARG_STRING, &forget,
    "Drop what is unfinished under this id: its storage will not come back",
    "ID" },
  G_OPTION_ENTRY_NULL
};

static gboolean
print_json (const GPtrArray *found, guint n_finished, GError **error)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("doctor");

  cli_json_add_bool (json, "dry_run", dry_run);
  cli_json_add_uint (json, "finished", n_finished);
  cli_json_begin_array (json, "unfinished");
  for (guint i = 0; i < found->len; i++)
    cli_json_add_element (json, g_ptr_array_index (found, i));
  json_builder_end_array (json);
  return cli_json_print (json, error);
}

static gboolean
print_text (const Cli *cli, const GPtrArray *found, guint n_finished,
            GError **error)
{
  if (cli->options.quiet)
    return TRUE;
  for (guint i = 0; i < found->len; i++)
    if (!cli_print (error, "unfinished: ")
        || !cli_print_line (error, g_ptr_array_index (found, i)))
      return FALSE;
  if (n_finished > 0)
    return cli_print (error, "finished: %u\n", n_finished);
  return found->len > 0 || cli_print (error, "nothing is unfinished\n");
}

/* Finish what can be, then see what is left.  What could not be finished is
   printed before its error is returned. */
static gboolean
run (Cli *cli, GError **error)
{
  g_autoptr (CliInterrupt) interrupt = NULL;
  g_autoptr (GPtrArray) found = NULL;
  g_autoptr (GError) reason = NULL;
  guint n_finished = 0;

  if (!cli_expect_no_arguments (cli, error))
    return FALSE;
  if (forget != NULL && !dry_run
      && !snap_set_forget (cli->state, forget, error))
    return FALSE;
  if (!dry_run) {
    interrupt = cli_interrupt_new ();
    snap_set_recover (cli->state, cli->registry, &n_finished, &reason);
  }
  found = cli_leftovers_list (cli, error);
  if (found == NULL
      || !(cli->options.json ? print_json (found, n_finished, error)
                             : print_text (cli, found, n_finished, error)))
    return FALSE;
  if (reason == NULL)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&reason));
  return FALSE;
}

const CliCommand cli_command_doctor = {
  .verb = "doctor",
  .arguments = "",
  .summary = "Finish what interrupted runs left behind",
  .help = "Today it completes or undoes sets whose maker was killed; create\n"
          "and delete do the same before they begin.  The exit code is 9 if\n"
          "something could not be finished, its storage not being there, say.\n"
          "What will never come back is dropped by --forget, which changes no\n"
          "storage.\n"
          "\n"
          "  nbdsnap doctor --dry-run\n"
          "  nbdsnap doctor",
  .options = options,
  .run = run,
};
