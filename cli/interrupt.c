/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/interrupt.h"

#include <pthread.h>
#include <signal.h>

#include "snapshot-core/base/error.h"

/* Ends the thread; never sent by a person. */
#define SIGNAL_STOP SIGUSR2

struct _CliInterrupt {
  GCancellable *cancellable;
  sigset_t waited_for;
  sigset_t saved_mask;
  pthread_t thread;
};

static void *
wait_for_signals (void *data)
{
  CliInterrupt *self = data;
  int number;

  while (sigwait (&self->waited_for, &number) == 0 && number != SIGNAL_STOP)
    g_cancellable_cancel (self->cancellable);
  return NULL;
}

static void
fill_signals (sigset_t *signals)
{
  static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGNAL_STOP };

  sigemptyset (signals);
  for (gsize i = 0; i < G_N_ELEMENTS (numbers); i++)
    sigaddset (signals, numbers[i]);
}

void
cli_interrupt_defer (void)
{
  sigset_t signals;

  fill_signals (&signals);
  pthread_sigmask (SIG_BLOCK, &signals, NULL);
}

CliInterrupt *
cli_interrupt_new (void)
{
  CliInterrupt *self = g_new0 (CliInterrupt, 1);

  self->cancellable = g_cancellable_new ();
  fill_signals (&self->waited_for);

  /* Blocked before the thread starts, so that every thread inherits it. */
  pthread_sigmask (SIG_BLOCK, &self->waited_for, &self->saved_mask);
  if (pthread_create (&self->thread, NULL, wait_for_signals, self) != 0)
    g_error ("no thread can be started");
  return self;
}

void
cli_interrupt_free (CliInterrupt *self)
{
  if (self == NULL)
    return;
  pthread_kill (self->thread, SIGNAL_STOP);
  pthread_join (self->thread, NULL);
  pthread_sigmask (SIG_SETMASK, &self->saved_mask, NULL);
  g_object_unref (self->cancellable);
  g_free (self);
}

GCancellable *
cli_interrupt_cancellable (CliInterrupt *self)
{
  return self->cancellable;
}

gboolean
cli_interrupt_check (CliInterrupt *self, GError **error)
{
  if (!g_cancellable_is_cancelled (self->cancellable))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_CANCELLED,
                         "interrupted: nothing changed");
}
