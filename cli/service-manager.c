/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/service-manager.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"

#define FIRST_SOCKET 3
#define MAX_SOCKETS 256

/* ---- sockets ---- */

static gboolean
take_number (const char *variable, guint64 max, guint64 *number, GError **error)
{
  const char *text = g_getenv (variable);

  *number = 0;
  if (text == NULL
      || g_ascii_string_to_unsigned (text, 10, 0, max, number, NULL))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE, "%s=%s: no such number",
                         variable, text);
}

static gboolean
close_on_exec (int fd, GError **error)
{
  return fcntl (fd, F_SETFD, FD_CLOEXEC) == 0
         || snap_error_set (error, SNAP_ERROR_USAGE,
                            "LISTEN_FDS: descriptor %d is not open", fd);
}

/* Meant for another process, they are none of our business. */
static gboolean
take_sockets (CliServiceManager *self, GError **error)
{
  guint64 pid, n;

  if (!take_number ("LISTEN_PID", G_MAXINT, &pid, error)
      || !take_number ("LISTEN_FDS", MAX_SOCKETS, &n, error))
    return FALSE;
  if (pid != (guint64) getpid ())
    return TRUE;
  self->first = FIRST_SOCKET;
  self->n_sockets = n;
  for (guint i = 0; i < n; i++)
    if (!close_on_exec (FIRST_SOCKET + i, error))
      return FALSE;
  return TRUE;
}

gboolean
cli_service_manager_init (CliServiceManager *self, GError **error)
{
  static const char *const variables[] = { "LISTEN_PID", "LISTEN_FDS",
                                           "LISTEN_FDNAMES", "NOTIFY_SOCKET" };
  gboolean taken;

  *self =
      (CliServiceManager){ .notify = g_strdup (g_getenv ("NOTIFY_SOCKET")) };
  taken = take_sockets (self, error);
  for (gsize i = 0; i < G_N_ELEMENTS (variables); i++)
    g_unsetenv (variables[i]);
  return taken;
}

void
cli_service_manager_clear (CliServiceManager *self)
{
  g_clear_pointer (&self->notify, g_free);
}

/* ---- telling ---- */

/* FALSE if it is none.  A leading '@' stands for a NUL: a name that is in no
   file system. */
static gboolean
fill_address (const char *name, struct sockaddr_un *address, socklen_t *length)
{
  gsize n = strlen (name);

  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  if ((*name != '/' && *name != '@') || n >= sizeof address->sun_path)
    return FALSE;
  memcpy (address->sun_path, name, n);
  if (*name == '@')
    address->sun_path[0] = '\0';
  *length = offsetof (struct sockaddr_un, sun_path) + n;
  return TRUE;
}

/* Nobody depends on being told. */
void
cli_service_manager_tell (const CliServiceManager *self, const char *what)
{
  struct sockaddr_un address;
  socklen_t length;
  int fd;

  if (self->notify == NULL || !fill_address (self->notify, &address, &length))
    return;
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return;
  (void) sendto (fd, what, strlen (what), MSG_NOSIGNAL,
                 (const struct sockaddr *) &address, length);
  close (fd);
}
