/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Printing the addresses of what is served.
 */
#ifndef CLI_ANNOUNCE_H
#define CLI_ANNOUNCE_H

#include "cli/command.h"
#include "nbd-server/server.h"

typedef enum {
  CLI_ANNOUNCE_POINTS, /* whole volumes have too many ranges to print */
  CLI_ANNOUNCE_ALL,
} CliAnnounce;

/* Print them, one a line or as JSON.  Errors: as cli_print(). */
gboolean cli_announce (const Cli *cli, CliAnnounce what, SnapNbdServer *server,
                       SnapExports *exports, GError **error);

#endif
