/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What standard output and standard error are able to show.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <glib.h>

/* The columns of a line: $COLUMNS, else the terminal's, else 80. */
guint cli_terminal_width (void);

/* Whether the locale's characters are UTF-8. */
gboolean cli_terminal_is_utf8 (void);

/* Whether standard output shows colour: a terminal, no $NO_COLOR, not dumb. */
gboolean cli_terminal_has_colour (void);

#endif
