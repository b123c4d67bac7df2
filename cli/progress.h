/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far a long step is, on standard error: one line that is rewritten on a
 * terminal, otherwise a line now and then.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <glib.h>

typedef enum {
  CLI_PROGRESS_OFF,
  CLI_PROGRESS_TERMINAL, /* rewritten, and gone at the end */
  CLI_PROGRESS_LINES,
} CliProgressStyle;

/* Zero-filled is off. */
typedef struct {
  CliProgressStyle style;
  const char *what; /* borrowed: "comparing" */
  gint64 next_us;   /* not to be shown again before this monotonic time */
} CliProgress;

/* @forced is what --progress says. */
void cli_progress_init (CliProgress *self, const char *what, gboolean forced);

/* Say that @done of @total is done, or, with a @total of 0, only what is
   being done; cheap, and silent most times. */
void cli_progress_update (CliProgress *self, guint64 done, guint64 total);

/* Take the line away. */
void cli_progress_clear (CliProgress *self);

#endif
