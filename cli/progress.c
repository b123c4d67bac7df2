/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/text.h"

/* What takes less than the delay shows nothing. */
#define DELAY_US (500 * G_TIME_SPAN_MILLISECOND)
#define INTERVAL_TERMINAL_US (100 * G_TIME_SPAN_MILLISECOND)
#define INTERVAL_LINES_US (1 * G_TIME_SPAN_SECOND)

#define ERASE_LINE "\r\033[K"

void
cli_progress_init (CliProgress *self, const char *what, gboolean forced)
{
  self->what = what;
  self->next_us = g_get_monotonic_time () + (forced ? 0 : DELAY_US);

  if (isatty (STDERR_FILENO) && (forced || !isatty (STDOUT_FILENO)))
    self->style = CLI_PROGRESS_TERMINAL;
  else
    self->style = forced ? CLI_PROGRESS_LINES : CLI_PROGRESS_OFF;
}

void
cli_progress_update (CliProgress *self, guint64 done, guint64 total)
{
  gboolean terminal = self->style == CLI_PROGRESS_TERMINAL;
  g_autofree char *percent = NULL;
  gint64 now_us;

  if (self->style == CLI_PROGRESS_OFF)
    return;
  now_us = g_get_monotonic_time ();
  if (now_us < self->next_us)
    return;
  self->next_us =
      now_us + (terminal ? INTERVAL_TERMINAL_US : INTERVAL_LINES_US);
  percent = cli_percent_format (done, total);
  fprintf (stderr, "%s%s%s%s%s", terminal ? ERASE_LINE : "", self->what,
           total > 0 ? ": " : "", total > 0 ? percent : "",
           terminal ? "" : "\n");
}

void
cli_progress_clear (CliProgress *self)
{
  if (self->style == CLI_PROGRESS_TERMINAL)
    fputs (ERASE_LINE, stderr);
  self->style = CLI_PROGRESS_OFF;
}
