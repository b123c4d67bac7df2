/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a server's main thread does: it waits for the end, and tells how it
 * goes.
 */
#ifndef CLI_SERVE_WATCH_H
#define CLI_SERVE_WATCH_H

#include "cli/interrupt.h"
#include "nbd-server/server.h"

typedef struct {
  CliInterrupt *interrupt;
  int parent;          /* readable when it has ended, or -1 */
  int asked;           /* readable when somebody asks how it goes */
  const char *metrics; /* the file for counters, or NULL; borrowed */
} CliServeWatch;

#define CLI_SERVE_WATCH_INIT \
  {                          \
    NULL, -1, -1, NULL       \
  }

typedef enum {
  CLI_SERVE_ALONE,
  CLI_SERVE_WITH_PARENT, /* end when it does */
} CliServeParent;

/* Begin to catch signals.  Before any other thread is started.  Errors:
   CANCELLED (the parent has ended), IO. */
gboolean cli_serve_watch_init (CliServeWatch *self, CliServeParent parent,
                               const char *metrics, GError **error);
void cli_serve_watch_clear (CliServeWatch *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (CliServeWatch, cli_serve_watch_clear)

/* Write the counters, if that is wanted.  Errors: NOT_FOUND, NO_SPACE, IO. */
gboolean cli_serve_watch_write (const CliServeWatch *self,
                                SnapNbdServer *server, GError **error);

/* The same where nothing depends on it: a failure is told. */
void cli_serve_watch_tell (const CliServeWatch *self, SnapNbdServer *server);

/* Wait for a signal, or the end of the parent; answer whoever asks. */
void cli_serve_watch_wait (CliServeWatch *self, SnapNbdServer *server);

#endif
