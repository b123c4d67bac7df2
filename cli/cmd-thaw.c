/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/json.h"
#include "cli/output.h"
#include "snapshot-core/service/relay.h"
#include "snapshot-core/service/set.h"

static char *monitor;
static char *agent;
static char *domain;
static char *uri;

static const GOptionEntry options[] = {
  { "qmp", 0, 0, G_OPTION_ARG_FILENAME, &monitor,
    "QMP socket of a guest to let go, whoever stopped it", "SOCKET" },
  { "agent", 0, 0, G_OPTION_ARG_FILENAME, &agent,
    "Socket of its guest agent: it is thawed too", "SOCKET" },
  { "domain", 0, 0, G_OPTION_ARG_STRING, &domain,
    "The same for a domain that libvirt answers for: it is thawed too",
    "NAME" },
  { "connect", 0, 0, G_OPTION_ARG_STRING, &uri,
    "Where that libvirt is (default: as virsh finds it)", "URI" },
  G_OPTION_ENTRY_NULL
};

static gboolean
print (const Cli *cli, guint n_released, GError **error)
{
  if (cli->options.json) {
    g_autoptr (JsonBuilder) json = cli_json_begin ("thaw");

    cli_json_add_uint (json, "released", n_released);
    return cli_json_print (json, error);
  }
  if (cli->options.quiet)
    return TRUE;
  return n_released > 0 ? cli_print (error, "guests that run: %u\n", n_released)
                        : cli_print (error, "no guest stood still\n");
}

static gboolean
thaw_domain (const Cli *cli, GError **error)
{
  g_autofree char *address = snap_relay_address (uri, domain);

  return snap_guest_release (address, address,
                             SNAP_GUEST_STOPPED | SNAP_GUEST_FROZEN, error)
         && print (cli, 1, error);
}

static gboolean
run (Cli *cli, GError **error)
{
  guint n_released = 0;

  if (!cli_expect_no_arguments (cli, error))
    return FALSE;
  if (domain != NULL && (monitor != NULL || agent != NULL))
    return cli_usage (cli, error,
                      "--domain: goes with neither --qmp nor --agent");
  if (domain == NULL && uri != NULL)
    return cli_usage (cli, error, "--connect: needs --domain");
  if (domain != NULL)
    return thaw_domain (cli, error);
  if (monitor == NULL && agent != NULL)
    return cli_usage (cli, error, "--agent: needs --qmp too");
  if (monitor == NULL)
    return snap_set_thaw (cli->state, &n_released, error)
           && print (cli, n_released, error);
  return snap_guest_release (monitor, agent,
                             SNAP_GUEST_STOPPED
                                 | (agent != NULL ? SNAP_GUEST_FROZEN : 0),
                             error)
         && print (cli, 1, error);
}

const CliCommand cli_command_thaw = {
  .verb = "thaw",
  .arguments = "",
  .summary = "See to it that guests run again",
  .help = "Without options: guests that interrupted runs have left frozen or\n"
          "stopped.  doctor, create and delete do the same before they begin,\n"
          "and finish the rest.  With --qmp: that guest, whoever stopped it.\n"
          "It can be run at any time, and again.  Exit code 8: a guest may\n"
          "still stand still.\n"
          "\n"
          "  nbdsnap thaw\n"
          "  nbdsnap thaw --qmp /run/vm1.qmp --agent /run/vm1.qga",
  .options = options,
  .run = run,
};
