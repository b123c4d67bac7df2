/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/json.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/terminal.h"

static void
add_driver_json (JsonBuilder *json, const SnapDriver *driver)
{
  g_autofree const char **capabilities = snap_driver_capabilities (driver);

  json_builder_begin_object (json);
  cli_json_add_text (json, "name", driver->name);
  cli_json_add_text (json, "description", driver->description);
  cli_json_begin_array (json, "capabilities");
  for (gsize i = 0; capabilities[i] != NULL; i++)
    cli_json_add_element (json, capabilities[i]);
  json_builder_end_array (json);
  json_builder_end_object (json);
}

static gboolean
print_json (const Cli *cli, GError **error)
{
  const char *const *complaints = snap_registry_complaints (cli->registry);
  g_autoptr (JsonBuilder) json = cli_json_begin ("drivers");

  cli_json_begin_array (json, "drivers");
  for (gsize i = 0; i < snap_registry_n (cli->registry); i++)
    add_driver_json (json, snap_registry_at (cli->registry, i));
  json_builder_end_array (json);
  cli_json_begin_array (json, "left_out");
  for (gsize i = 0; complaints[i] != NULL; i++)
    cli_json_add_element (json, complaints[i]);
  json_builder_end_array (json);
  return cli_json_print (json, error);
}

static char *
join_capabilities (const SnapDriver *driver)
{
  g_autofree const char **capabilities = snap_driver_capabilities (driver);

  return g_strjoinv (",", (char **) capabilities);
}

static gboolean
print_text (const Cli *cli, GError **error)
{
  static const CliColumn columns[] = {
    { "NAME", CLI_ALIGN_LEFT },
    { "CAPABILITIES", CLI_ALIGN_LEFT },
    { "DESCRIPTION", CLI_ALIGN_LEFT },
  };
  const char *const *complaints = snap_registry_complaints (cli->registry);
  g_autoptr (CliTable) table =
      cli_table_new (columns, G_N_ELEMENTS (columns), cli_terminal_is_utf8 ());
  g_autofree char *text = NULL;

  for (gsize i = 0; i < snap_registry_n (cli->registry); i++) {
    const SnapDriver *driver = snap_registry_at (cli->registry, i);
    g_autofree char *capabilities = join_capabilities (driver);
    const char *const cells[] = { driver->name, capabilities,
                                  driver->description };

    cli_table_add (table, cells);
  }
  for (gsize i = 0; complaints[i] != NULL && !cli->options.quiet; i++)
    cli_say ("%s", complaints[i]);
  text = cli_table_format (table);
  return cli_print (error, "%s", text);
}

static gboolean
run (Cli *cli, GError **error)
{
  if (!cli_expect_no_arguments (cli, error))
    return FALSE;
  return cli->options.json ? print_json (cli, error) : print_text (cli, error);
}

const CliCommand cli_command_drivers = {
  .verb = "drivers",
  .arguments = "",
  .summary = "List the kinds of storage that are supported",
  .help = "Modules that were found but cannot be used are named on standard\n"
          "error.\n"
          "\n"
          "  nbdsnap drivers\n"
          "  NBDSNAP_DRIVER_PATH=$PWD nbdsnap drivers --json",
  .run = run,
};
