/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#define DEFAULT_WIDTH 80
#define MIN_WIDTH 20
#define MAX_WIDTH 1000

guint
cli_terminal_width (void)
{
  const char *columns = g_getenv ("COLUMNS");
  struct winsize size;
  guint64 width = 0;

  if (columns != NULL
      && g_ascii_string_to_unsigned (columns, 10, 1, G_MAXUINT, &width, NULL))
    return CLAMP (width, MIN_WIDTH, MAX_WIDTH);
  if (ioctl (STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return CLAMP (size.ws_col, MIN_WIDTH, MAX_WIDTH);
  return DEFAULT_WIDTH;
}

gboolean
cli_terminal_is_utf8 (void)
{
  return g_get_charset (NULL);
}

gboolean
cli_terminal_has_colour (void)
{
  const char *no_colour = g_getenv ("NO_COLOR");

  return isatty (STDOUT_FILENO) && (no_colour == NULL || *no_colour == '\0')
         && g_strcmp0 (g_getenv ("TERM"), "dumb") != 0;
}
