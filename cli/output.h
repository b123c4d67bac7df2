/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Standard output, of which every write counts, and lines on standard error.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <glib.h>

/*
 * Buffer standard output in full, so that a diff streams in large writes, and
 * see to it that no file opened later becomes a standard stream that was
 * closed.
 */
void cli_output_init (void);

/*
 * Print to standard output, buffered.
 *
 * Errors: IO (nobody can take the output), G_IO_ERROR_BROKEN_PIPE (the reader
 * went away, about which nothing is to be said).
 */
gboolean cli_print (GError **error, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

/* Print what is formatted already. */
gboolean cli_print_bytes (GError **error, const char *bytes, gsize length);

/* Print a reference, a path or a name as a line, made safe to look at. */
gboolean cli_print_line (GError **error, const char *text);

/* See that all that was printed has arrived.  Errors as above. */
gboolean cli_output_flush (GError **error);

/*
 * Print one line to standard error, "nbdsnap: MESSAGE", with everything
 * unprintable escaped.
 */
void cli_say (const char *format, ...) G_GNUC_PRINTF (1, 2);

#endif
