/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the process exits with, and which error leads to which of it.
 *
 * Scripts act on these numbers; they never change their meaning.
 */
#ifndef CLI_EXIT_CODES_H
#define CLI_EXIT_CODES_H

#include <glib.h>

typedef enum {
  CLI_EXIT_OK = 0,
  CLI_EXIT_FAILED = 1,        /* failed, nothing changed */
  CLI_EXIT_USAGE = 2,         /* the command line is wrong */
  CLI_EXIT_BUSY = 3,          /* busy or held, try again */
  CLI_EXIT_WEAKER = 4,        /* done, with weaker consistency than asked */
  CLI_EXIT_FULL_COPY = 5,     /* not comparable, a full copy is needed */
  CLI_EXIT_MISMATCH = 6,      /* verification found a mismatch */
  CLI_EXIT_NO_SPACE = 7,      /* refused before starting */
  CLI_EXIT_FROZEN = 8,        /* something may still be frozen or suspended */
  CLI_EXIT_PARTIAL = 9,       /* part-way; doctor finishes it */
  CLI_EXIT_INTERRUPTED = 130, /* interrupted and cleaned up */
} CliExit;

/* The exit code of an error, of whatever domain. */
CliExit cli_exit_code (const GError *error);

#endif
