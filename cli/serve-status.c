/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/serve-status.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/text.h"
#include "snapshot-core/base/error.h"

/* ---- for people ---- */

char *
cli_serve_status_line (SnapNbdServer *server)
{
  const SnapNbdServerStatus now = snap_nbd_server_status (server);
  g_autofree char *sent = cli_size_format (now.bytes_sent, CLI_SIZE_HUMAN);

  return g_strdup_printf (
      "%u connected now; %" G_GUINT64_FORMAT " let in, %" G_GUINT64_FORMAT
      " by TLS, %" G_GUINT64_FORMAT " turned away; %" G_GUINT64_FORMAT
      " reads, %" G_GUINT64_FORMAT " of status, %" G_GUINT64_FORMAT
      " to cache, %" G_GUINT64_FORMAT " failed; %s sent",
      now.n_connections, now.n_accepted, now.n_secured, now.n_refused,
      now.n_reads, now.n_statuses, now.n_caches, now.n_failures, sent);
}

/* ---- for Prometheus ---- */

static void
append (GString *text, const char *name, const char *type, const char *help,
        guint64 value)
{
  g_string_append_printf (text,
                          "# HELP nbdsnap_%s %s\n# TYPE nbdsnap_%s %s\n"
                          "nbdsnap_%s %" G_GUINT64_FORMAT "\n",
                          name, help, name, type, name, value);
}

static void
append_command (GString *text, const char *command, guint64 value)
{
  g_string_append_printf (
      text, "nbdsnap_requests_total{command=\"%s\"} %" G_GUINT64_FORMAT "\n",
      command, value);
}

static void
append_requests (GString *text, const SnapNbdServerStatus *now)
{
  g_string_append (text,
                   "# HELP nbdsnap_requests_total Requests that were served.\n"
                   "# TYPE nbdsnap_requests_total counter\n");
  append_command (text, "read", now->n_reads);
  append_command (text, "block_status", now->n_statuses);
  append_command (text, "cache", now->n_caches);
}

static char *
format_metrics (SnapNbdServer *server)
{
  const SnapNbdServerStatus now = snap_nbd_server_status (server);
  GString *text = g_string_new (NULL);

  append (text, "connections", "gauge", "Clients that are connected.",
          now.n_connections);
  append (text, "connections_total", "counter", "Clients that were let in.",
          now.n_accepted);
  append (text, "connections_tls_total", "counter",
          "Clients that were let in and began TLS.", now.n_secured);
  append (text, "connections_refused_total", "counter",
          "Clients that were turned away for lack of room.", now.n_refused);
  append_requests (text, &now);
  append (text, "request_errors_total", "counter",
          "Requests that were answered with an error.", now.n_failures);
  append (text, "sent_bytes_total", "counter", "Data that was sent.",
          now.bytes_sent);
  return g_string_free (text, FALSE);
}

static gboolean
write_and_rename (int fd, const char *temporary, const char *path,
                  const char *text)
{
  gsize length = strlen (text);

  return write (fd, text, length) == (gssize) length && fchmod (fd, 0644) == 0
         && rename (temporary, path) == 0;
}

/* A reader sees the old file or the new one.  It need not be on disk: after a
   crash there is nothing to count. */
gboolean
cli_serve_metrics_write (SnapNbdServer *server, const char *path,
                         GError **error)
{
  g_autofree char *temporary = g_strconcat (path, ".XXXXXX", NULL);
  g_autofree char *text = format_metrics (server);
  int fd = g_mkstemp_full (temporary, O_WRONLY | O_CLOEXEC, 0600);
  gboolean done;

  if (fd < 0)
    return snap_error_set_errno (error, errno, "%s", path);
  done = write_and_rename (fd, temporary, path, text)
         || snap_error_set_errno (error, errno, "%s", path);
  close (fd);
  if (!done)
    unlink (temporary);
  return done;
}

/* ---- asked by a signal ---- */

int
cli_serve_status_open (GError **error)
{
  sigset_t wanted;
  int fd;

  sigemptyset (&wanted);
  sigaddset (&wanted, SIGUSR1);
  fd = signalfd (-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0)
    snap_error_set_errno (error, errno, "SIGUSR1");
  else
    pthread_sigmask (SIG_BLOCK, &wanted, NULL);
  return fd;
}

void
cli_serve_status_take (int fd)
{
  struct signalfd_siginfo one;

  while (read (fd, &one, sizeof one) > 0)
    continue;
}
