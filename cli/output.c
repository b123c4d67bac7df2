/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/terminal.h"
#include "cli/text.h"
#include "snapshot-core/base/text.h"
#include "snapshot-core/base/error.h"

#define BUFFER_SIZE (64 * 1024)

/* In the place of a closed stream: cannot be written, is never a file that
   matters. */
static void
occupy_closed_streams (void)
{
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl (fd, F_GETFD) < 0)
      open ("/dev/null", O_RDONLY);
}

void
cli_output_init (void)
{
  static char buffer[BUFFER_SIZE];

  occupy_closed_streams ();
  setvbuf (stdout, buffer, _IOFBF, sizeof buffer);
}

static gboolean
set_write_error (GError **error, int errnum)
{
  if (errnum == EPIPE) {
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE,
                         "standard output: nobody reads it");
    return FALSE;
  }
  return snap_error_set (error, SNAP_ERROR_IO, "standard output: %s",
                         g_strerror (errnum));
}

gboolean
cli_print (GError **error, const char *format, ...)
{
  va_list args;
  int n;

  va_start (args, format);
  n = vfprintf (stdout, format, args);
  va_end (args);
  return n >= 0 || set_write_error (error, errno);
}

gboolean
cli_print_bytes (GError **error, const char *bytes, gsize length)
{
  return fwrite (bytes, 1, length, stdout) == length
         || set_write_error (error, errno);
}

gboolean
cli_print_line (GError **error, const char *text)
{
  g_autofree char *line = snap_text_escape (text, cli_terminal_is_utf8 ());

  return cli_print (error, "%s\n", line);
}

gboolean
cli_output_flush (GError **error)
{
  return fflush (stdout) == 0 || set_write_error (error, errno);
}

void
cli_say (const char *format, ...)
{
  g_autofree char *message = NULL;
  g_autofree char *line = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  line = snap_text_escape (message, cli_terminal_is_utf8 ());
  fprintf (stderr, "nbdsnap: %s\n", line);
}
