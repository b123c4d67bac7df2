/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of TLS.
 */
#ifndef CLI_TLS_H
#define CLI_TLS_H

#include "nbd-server/server.h"

/* What the command line says; the strings are the option parser's. */
typedef struct {
  char *policy;       /* "off", "on", "require", or NULL */
  char *certificates; /* a directory, or NULL */
  char *psk;          /* a file, "auto", or NULL */
  gboolean verify_peer;
  char *made; /* a file of a key that was made, and goes again */
} CliTls;

/* Remove what was made. */
void cli_tls_clear (CliTls *self);

/* Set @server up as the options say.  Errors: USAGE, NOT_FOUND, CORRUPT, IO. */
gboolean cli_tls_apply (CliTls *self, SnapNbdServer *server, GError **error);

#endif
