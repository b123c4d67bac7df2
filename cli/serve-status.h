/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a server does, for people and for a monitoring system.
 */
#ifndef CLI_SERVE_STATUS_H
#define CLI_SERVE_STATUS_H

#include "nbd-server/server.h"

/* One line for people; the caller frees. */
char *cli_serve_status_line (SnapNbdServer *server);

/*
 * Write the counters to @path in Prometheus' text format, whole or not at all.
 * The file is readable by everybody: it says nothing about what is served.
 *
 * Errors: NOT_FOUND (its directory), NO_SPACE, IO.
 */
gboolean cli_serve_metrics_write (SnapNbdServer *server, const char *path,
                                  GError **error);

/* ---- asked by a signal ---- */

/*
 * Keep SIGUSR1 from ending the process; the descriptor becomes readable when
 * one has come.  Before any thread is started.  Errors: IO.
 */
int cli_serve_status_open (GError **error);

/* Take the signals that have come. */
void cli_serve_status_take (int fd);

#endif
