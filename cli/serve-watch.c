/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/serve-watch.h"

#include <unistd.h>

#include "cli/output.h"
#include "cli/parent.h"
#include "cli/serve-status.h"

/* How old the counters in a file may be. */
#define METRICS_MS 10000

gboolean
cli_serve_watch_init (CliServeWatch *self, CliServeParent parent,
                      const char *metrics, GError **error)
{
  *self = (CliServeWatch) CLI_SERVE_WATCH_INIT;
  self->metrics = metrics;
  if (parent == CLI_SERVE_WITH_PARENT) {
    self->parent = cli_parent_open (error);
    if (self->parent < 0)
      return FALSE;
  }
  self->asked = cli_serve_status_open (error);
  if (self->asked < 0)
    return FALSE;
  self->interrupt = cli_interrupt_new ();
  return TRUE;
}

void
cli_serve_watch_clear (CliServeWatch *self)
{
  cli_interrupt_free (self->interrupt);
  if (self->parent >= 0)
    close (self->parent);
  if (self->asked >= 0)
    close (self->asked);
}

gboolean
cli_serve_watch_write (const CliServeWatch *self, SnapNbdServer *server,
                       GError **error)
{
  return self->metrics == NULL
         || cli_serve_metrics_write (server, self->metrics, error);
}

/* Whoever reads the file sees how old it is. */
void
cli_serve_watch_tell (const CliServeWatch *self, SnapNbdServer *server)
{
  g_autoptr (GError) error = NULL;

  if (!cli_serve_watch_write (self, server, &error))
    cli_say ("%s", error->message);
}

static void
tell_status (const CliServeWatch *self, SnapNbdServer *server)
{
  g_autofree char *line = cli_serve_status_line (server);

  cli_serve_status_take (self->asked);
  cli_say ("%s", line);
}

void
cli_serve_watch_wait (CliServeWatch *self, SnapNbdServer *server)
{
  GCancellable *signalled = cli_interrupt_cancellable (self->interrupt);
  int timeout_ms = self->metrics != NULL ? METRICS_MS : -1;
  GPollFD all[] = { { -1, G_IO_IN, 0 },
                    { self->asked, G_IO_IN, 0 },
                    { self->parent, G_IO_IN, 0 } };

  if (!g_cancellable_make_pollfd (signalled, &all[0]))
    return;
  do {
    if (g_poll (all, G_N_ELEMENTS (all), timeout_ms) < 0)
      continue;
    if (all[1].revents != 0)
      tell_status (self, server);
    cli_serve_watch_tell (self, server);
  } while (all[0].revents == 0 && all[2].revents == 0);
  g_cancellable_release_fd (signalled);
}
