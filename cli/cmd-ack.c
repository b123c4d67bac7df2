/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/json.h"
#include "cli/leftovers.h"
#include "cli/output.h"
#include "snapshot-core/service/acknowledge.h"

static gboolean failed;

static const GOptionEntry options[] = {
  { "failed", 0, 0, G_OPTION_ARG_NONE, &failed,
    "The copy failed: the next one starts from the same base", NULL },
  G_OPTION_ENTRY_NULL
};

static gboolean
print (const Cli *cli, guint n_told, GError **error)
{
  const char *name = cli->args[0];

  if (cli->options.json) {
    g_autoptr (JsonBuilder) json = cli_json_begin ("ack");

    cli_json_add_text (json, "set", name);
    cli_json_add_bool (json, "failed", failed);
    cli_json_add_uint (json, "volumes", n_told);
    return cli_json_print (json, error);
  }
  if (cli->options.quiet)
    return TRUE;
  return cli_print (error, "volumes whose %s: %u\n",
                    failed ? "base stays" : "base advanced", n_told);
}

static gboolean
run (Cli *cli, GError **error)
{
  guint n_told = 0;

  if (cli->n_args != 1)
    return cli_usage (cli, error, "exactly one SET is wanted");
  return cli_leftovers_finish (cli, error)
         && snap_set_acknowledge (cli->state, cli->registry, cli->args[0],
                                  failed ? SNAP_ACK_FAILED : SNAP_ACK_SUCCEEDED,
                                  &n_told, error)
         && print (cli, n_told, error);
}

const CliCommand cli_command_ack = {
  .verb = "ack",
  .arguments = "SET",
  .summary = "Say that the copy of a set succeeded, or failed",
  .help =
      "A snapshot of a running guest's disk that QEMU keeps costs the guest\n"
      "something, so its data ends here.  What stays is a checkpoint: the\n"
      "base of this consumer's next incremental copy, in place of its\n"
      "older ones.  With --failed the older ones stay and this one goes.\n"
      "Snapshots of other storages stay as they are.\n"
      "\n"
      "  nbdsnap ack tue\n"
      "  nbdsnap ack --failed tue",
  .options = options,
  .run = run,
};
