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

static void
add_owed (JsonBuilder *json, const GPtrArray *owed)
{
  cli_json_begin_array (json, "owed");
  for (guint i = 0; owed != NULL && i < owed->len; i++) {
    const SnapSetOwed *one = g_ptr_array_index (owed, i);

    json_builder_begin_object (json);
    cli_json_add_text (json, "set", one->set_id);
    cli_json_add_text (json, "name", one->name);
    cli_json_add_text (json, "post_cut", one->command);
    json_builder_end_object (json);
  }
  json_builder_end_array (json);
}

static gboolean
print_json (const GPtrArray *left, const SnapSetFound *found, GError **error)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("doctor");

  cli_json_add_bool (json, "dry_run", dry_run);
  cli_json_add_uint (json, "finished", found->n_finished);
  cli_json_begin_array (json, "unfinished");
  for (guint i = 0; i < left->len; i++)
    cli_json_add_element (json, g_ptr_array_index (left, i));
  json_builder_end_array (json);
  add_owed (json, found->owed);
  return cli_json_print (json, error);
}

static gboolean
print_text (const Cli *cli, const GPtrArray *left, const SnapSetFound *found,
            GError **error)
{
  if (cli->options.quiet)
    return TRUE;
  for (guint i = 0; i < left->len; i++)
    if (!cli_print (error, "unfinished: ")
        || !cli_print_line (error, g_ptr_array_index (left, i)))
      return FALSE;
  if (found->n_finished > 0)
    return cli_print (error, "finished: %u\n", found->n_finished);
  return left->len > 0 || cli_print (error, "nothing is unfinished\n");
}

static gboolean
print (Cli *cli, const SnapSetFound *found, GError **error)
{
  g_autoptr (GPtrArray) left = cli_leftovers_list (cli, error);

  if (left == NULL)
    return FALSE;
  if (cli->options.json)
    return print_json (left, found, error);
  cli_leftovers_say_owed (found);
  return print_text (cli, left, found, error);
}

/* Finish what can be, then see what is left.  What could not be finished is
   printed before its error is returned. */
static gboolean
run (Cli *cli, GError **error)
{
  g_autoptr (CliInterrupt) interrupt = NULL;
  g_auto (SnapSetFound) found = { 0 };
  g_autoptr (GError) reason = NULL;

  if (!cli_expect_no_arguments (cli, error))
    return FALSE;
  if (forget != NULL && !dry_run
      && !snap_set_forget (cli->state, forget, error))
    return FALSE;
  if (!dry_run) {
    interrupt = cli_interrupt_new ();
    snap_set_recover (cli->state, cli->registry, &found, &reason);
  }
  if (!print (cli, &found, error))
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
