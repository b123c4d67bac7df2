/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SIGINT, SIGTERM and SIGHUP as a GCancellable: while one of these objects
 * lives, they end no process in the middle of a change.
 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <gio/gio.h>

typedef struct _CliInterrupt CliInterrupt;

/* Have the signals wait until that is started. */
void cli_interrupt_defer (void);

/* Start waiting for the signals, in a thread of its own. */
CliInterrupt *cli_interrupt_new (void);

/* Give the signals their usual effect again. */
void cli_interrupt_free (CliInterrupt *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (CliInterrupt, cli_interrupt_free)

/* Cancelled by the first signal; borrowed. */
GCancellable *cli_interrupt_cancellable (CliInterrupt *self);

/* FALSE with CANCELLED if a signal has come. */
gboolean cli_interrupt_check (CliInterrupt *self, GError **error);

#endif
