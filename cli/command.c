/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "snapshot-core/base/error.h"

gboolean
cli_usage (const Cli *cli, GError **error, const char *format, ...)
{
  g_autofree char *fact = NULL;
  va_list args;

  va_start (args, format);
  fact = g_strdup_vprintf (format, args);
  va_end (args);
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         "%s: %s (try 'nbdsnap %s --help')", cli->verb, fact,
                         cli->verb);
}

gboolean
cli_expect_no_arguments (const Cli *cli, GError **error)
{
  if (cli->n_args == 0)
    return TRUE;
  return cli_usage (cli, error, "%s: takes no argument", cli->args[0]);
}

CliSizeStyle
cli_size_style (const Cli *cli)
{
  return cli->options.bytes ? CLI_SIZE_BYTES : CLI_SIZE_HUMAN;
}

char *
cli_format_size (const Cli *cli, guint64 bytes)
{
  return cli_size_format (bytes, cli_size_style (cli));
}
