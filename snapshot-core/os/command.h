/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run a short-lived tool to its end and take what it printed.
 */
#ifndef SNAP_OS_COMMAND_H
#define SNAP_OS_COMMAND_H

#include <glib.h>

#include "snapshot-core/os/child.h"

/* The most that is kept of a tool's output; more is an error, not memory. */
#define SNAP_COMMAND_MAX_OUTPUT (16 * 1024 * 1024)

typedef struct {
  const SnapChildFd *fds; /* extra descriptors, 3 and up */
  gsize n_fds;
  guint timeout_ms; /* 0 for the default of 60 s */
} SnapCommandOptions;

/*
 * Run argv, with /dev/null as its input.
 *
 * @options may be NULL.  @output may be NULL; otherwise the caller frees it
 * (NUL-terminated).  A tool that exits with anything but 0 is an error whose
 * message carries the first line of its stderr: "PROGRAM: LINE (exited with 1)".
 * A tool is done when it has ended, whatever it left running behind it.
 *
 * Errors: UNSUPPORTED (the tool is not installed), FAILED (it exited with
 * non-zero), IO (killed, deadline passed, too much output).
 */
gboolean snap_command_run (const char *const *argv,
                           const SnapCommandOptions *options, char **output,
                           GError **error);

/*
 * The first line of what a tool called @program printed, for a message: without
 * the "PROGRAM: " that many tools begin it with, control characters and what
 * is no UTF-8 as \xNN, cut when very long.  The caller frees; NULL if there
 * is no line.
 */
char *snap_command_first_line (const char *program, const char *text);

#endif
