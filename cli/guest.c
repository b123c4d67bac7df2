/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/guest.h"

#include "cli/points.h"
#include "snapshot-core/service/relay.h"

/* ---- options ---- */

gboolean
cli_guest_is_named (const CliGuestOptions *options)
{
  return options->monitor != NULL || options->domain != NULL;
}

/* Options that mean nothing without a guest. */
static gboolean
check_none_alone (Cli *cli, const CliGuestOptions *options, GError **error)
{
  const struct {
    const char *name;
    gboolean given;
  } needy[] = {
    { "agent", options->agent != NULL },
    { "disk", options->disks != NULL },
    { "connect", options->connect != NULL },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (needy); i++)
    if (needy[i].given)
      return cli_usage (
          cli, error,
          "--%s: needs a guest, and neither --qmp nor --domain names "
          "one",
          needy[i].name);
  return TRUE;
}

static gboolean
check_quiesce (Cli *cli, const CliGuestOptions *options, GError **error)
{
  SnapQuiesce quiesce;

  if (options->quiesce == NULL)
    return TRUE;
  if (!snap_quiesce_parse (options->quiesce, &quiesce))
    return cli_usage (cli, error, "--quiesce=%s: no such way to quiesce",
                      options->quiesce);
  if (quiesce != SNAP_QUIESCE_NONE && !cli_guest_is_named (options))
    return cli_usage (cli, error,
                      "--quiesce=%s: needs a guest, and none is named",
                      options->quiesce);
  if (quiesce == SNAP_QUIESCE_AGENT && options->agent == NULL
      && options->domain == NULL)
    return cli_usage (cli, error,
                      "--quiesce=agent: --agent has to name its socket");
  return TRUE;
}

SnapQuiesce
cli_guest_wanted (const CliGuestOptions *options)
{
  SnapQuiesce quiesce = SNAP_QUIESCE_NONE;

  if (options->quiesce != NULL)
    snap_quiesce_parse (options->quiesce, &quiesce);
  else if (cli_guest_is_named (options))
    quiesce = options->agent != NULL ? SNAP_QUIESCE_AGENT : SNAP_QUIESCE_PAUSE;
  return quiesce;
}

/* Through libvirt both are reached. */
static gboolean
check_domain (Cli *cli, const CliGuestOptions *options, GError **error)
{
  if (options->domain == NULL)
    return options->connect == NULL || options->monitor == NULL
           || cli_usage (cli, error, "--connect: needs --domain");
  return (options->monitor == NULL && options->agent == NULL)
         || cli_usage (cli, error,
                       "--domain: goes with neither --qmp nor --agent");
}

gboolean
cli_guest_check (Cli *cli, const CliGuestOptions *options, GError **error)
{
  if (!check_quiesce (cli, options, error)
      || !check_domain (cli, options, error)
      || (!cli_guest_is_named (options)
          && !check_none_alone (cli, options, error)))
    return FALSE;
  cli->guest_disks.mechanism = options->mechanism;
  cli->guest_disks.scratch_dir = options->scratch_dir;
  cli->guest_disks.consumer = options->consumer;
  cli->guest_disks.quiesce = cli_guest_wanted (options);
  return TRUE;
}

/* ---- the guest ---- */

gboolean
cli_guest_open (const CliGuestOptions *options, SnapGuest **guest,
                GError **error)
{
  g_autofree char *address =
      options->domain != NULL
          ? snap_relay_address (options->connect, options->domain)
          : NULL;
  const SnapGuestSpec spec = {
    .monitor = address != NULL ? address : options->monitor,
    .agent = address != NULL ? address : options->agent,
    .quiesce = cli_guest_wanted (options),
  };

  if (!cli_guest_is_named (options))
    return TRUE;
  *guest = snap_guest_open (&spec, error);
  return *guest != NULL;
}

/* Two devices on one file would be one volume. */
static gboolean
check_new (const Cli *cli, const GPtrArray *volumes, const SnapGuestDisk *disk,
           const SnapVolume *added, GError **error)
{
  for (guint i = 0; i < volumes->len; i++)
    if (snap_volume_equal (g_ptr_array_index (volumes, i), added))
      return cli_usage (cli, error,
                        "%s: lies on the same volume as another "
                        "disk",
                        disk->device);
  return TRUE;
}

static gboolean
open_disk (Cli *cli, SnapGuest *guest, const SnapGuestDisk *disk,
           GPtrArray *volumes, GError **error)
{
  g_autoptr (SnapVolume) added =
      cli_reference_open (cli, disk->reference, SNAP_OPEN_MANAGE, error);

  if (added == NULL) {
    g_prefix_error (error, "%s: ", disk->device);
    return FALSE;
  }
  if (!check_new (cli, volumes, disk, added, error))
    return FALSE;
  snap_guest_claim (guest, added);
  g_ptr_array_add (volumes, g_steal_pointer (&added));
  return TRUE;
}

gboolean
cli_guest_open_disks (Cli *cli, const CliGuestOptions *options,
                      SnapGuest *guest, GPtrArray *volumes, GError **error)
{
  g_autoptr (GPtrArray) disks = snap_guest_find_disks (
      guest, cli->registry, (const char *const *) options->disks, error);

  for (guint i = 0; disks != NULL && i < disks->len; i++)
    if (!open_disk (cli, guest, g_ptr_array_index (disks, i), volumes, error))
      return FALSE;
  return disks != NULL;
}

/* ---- words ---- */

static char *
format_ms (guint64 us)
{
  return g_strdup_printf ("%" G_GUINT64_FORMAT ".%03u ms", us / 1000,
                          (guint) (us % 1000));
}

char *
cli_quiet_format (SnapQuiesce quiesce, guint64 stopped_us, guint64 frozen_us)
{
  g_autofree char *stopped = format_ms (stopped_us);
  g_autofree char *frozen = format_ms (frozen_us);

  if (quiesce == SNAP_QUIESCE_AGENT)
    return g_strdup_printf ("frozen by its agent for %s, stopped for %s",
                            frozen, stopped);
  if (quiesce == SNAP_QUIESCE_NONE)
    return g_strdup ("ran on");
  return stopped_us > 0 ? g_strdup_printf ("stopped for %s", stopped)
                        : g_strdup ("stood still before");
}
