/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/exit-codes.h"

#include "snapshot-core/base/error.h"

/* Indexed by SnapError; every code has its row. */
static const CliExit exit_of[] = {
  [SNAP_ERROR_FAILED] = CLI_EXIT_FAILED,
  [SNAP_ERROR_USAGE] = CLI_EXIT_USAGE,
  [SNAP_ERROR_NOT_FOUND] = CLI_EXIT_FAILED,
  [SNAP_ERROR_EXISTS] = CLI_EXIT_FAILED,
  [SNAP_ERROR_BUSY] = CLI_EXIT_BUSY,
  [SNAP_ERROR_NOT_COMPARABLE] = CLI_EXIT_FULL_COPY,
  [SNAP_ERROR_UNSUPPORTED] = CLI_EXIT_FAILED,
  [SNAP_ERROR_CORRUPT] = CLI_EXIT_FAILED,
  [SNAP_ERROR_IO] = CLI_EXIT_FAILED,
  [SNAP_ERROR_NO_SPACE] = CLI_EXIT_NO_SPACE,
  [SNAP_ERROR_PARTIAL] = CLI_EXIT_PARTIAL,
  [SNAP_ERROR_CANCELLED] = CLI_EXIT_INTERRUPTED,
  [SNAP_ERROR_FROZEN] = CLI_EXIT_FROZEN,
};

CliExit
cli_exit_code (const GError *error)
{
  if (error->domain == G_OPTION_ERROR)
    return CLI_EXIT_USAGE;
  if (error->domain == SNAP_ERROR && error->code >= 0
      && error->code < (int) G_N_ELEMENTS (exit_of))
    return exit_of[error->code];
  return CLI_EXIT_FAILED;
}
