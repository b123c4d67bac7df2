/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/relay.h"

#include "guard/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/child.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"

#define PREFIX "libvirt:"

/* libvirt may have to be started first. */
#define READY_MS 60000

/* Longer than libvirt makes anybody wait for a domain. */
#define END_MS 40000

#define MAX_WORD 1024

enum { MONITOR, AGENT, N_SIDES };

struct _SnapRelay {
  pid_t pid;
  int near[N_SIDES], far[N_SIDES];
  int qemu_pid;
};

char *
snap_relay_address (const char *uri, const char *domain)
{
  return g_strconcat (PREFIX, uri != NULL ? uri : "", "#", domain, NULL);
}

gboolean
snap_relay_is_address (const char *text)
{
  return g_str_has_prefix (text, PREFIX) && strchr (text, '#') != NULL;
}

/* ---- starting ---- */

/* Where the installed one is, unless a test says otherwise. */
static const char *
program (void)
{
  const char *other = g_getenv ("NBDSNAP_RELAY");

  return other != NULL && *other != '\0' ? other : SNAP_RELAY_PROGRAM;
}

static gboolean
make_pairs (SnapRelay *self, GError **error)
{
  for (int i = 0; i < N_SIDES; i++) {
    int ends[2];

    if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
      return snap_error_set_errno (error, errno, "relay: socket");
    self->near[i] = ends[0];
    self->far[i] = ends[1];
  }
  return TRUE;
}

/* *report is where it says its one line. */
static gboolean
launch (SnapRelay *self, const char *address, int *report, GError **error)
{
  const char *domain = strchr (address, '#') + 1;
  const char *uri_start = address + strlen (PREFIX);
  g_autofree char *uri = g_strndup (uri_start, domain - 1 - uri_start);
  const char *argv[] = { program (), uri, domain, NULL };
  snap_autofd int far_end = -1;
  int ends[2];

  if (pipe2 (ends, O_CLOEXEC) < 0)
    return snap_error_set_errno (error, errno, "relay: pipe");
  *report = ends[0];
  far_end = ends[1];
  {
    const SnapChildFd fds[] = { { far_end, STDOUT_FILENO },
                                { STDERR_FILENO, STDERR_FILENO },
                                { self->far[MONITOR], RELAY_MONITOR_FD },
                                { self->far[AGENT], RELAY_AGENT_FD } };
    const SnapChildSpec spec = { .argv = argv,
                                 .fds = fds,
                                 .n_fds = G_N_ELEMENTS (fds) };

    self->pid = snap_child_start (&spec, error);
  }
  return self->pid > 0;
}

/* One line, or what there is of it when it ends or is silent. */
static void
read_report (int fd, char word[MAX_WORD])
{
  SnapDeadline deadline = snap_deadline_in (READY_MS);
  struct pollfd waiting = { .fd = fd, .events = POLLIN };
  gsize length = 0;
  gssize n;

  while (length + 1 < MAX_WORD && memchr (word, '\n', length) == NULL) {
    n = poll (&waiting, 1, snap_deadline_left_ms (deadline));
    if (n < 0 && errno == EINTR)
      continue;
    n = n > 0 ? read (fd, word + length, MAX_WORD - 1 - length) : 0;
    if (n <= 0)
      break;
    length += (gsize) n;
  }
  word[length] = '\0';
  word[strcspn (word, "\n")] = '\0';
}

static gboolean
take_report (SnapRelay *self, int report, GError **error)
{
  char word[MAX_WORD];
  int code;
  int at = 0;

  read_report (report, word);
  if (sscanf (word, RELAY_READY "%d", &self->qemu_pid) == 1)
    return TRUE;
  if (sscanf (word, RELAY_FAILED "%d %n", &code, &at) == 1 && at > 0)
    return snap_error_set (error, (SnapError) code, "%s", word + at);
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s: did not start",
                         program ());
}

SnapRelay *
snap_relay_start (const char *address, GError **error)
{
  g_autoptr (SnapRelay) self = g_new0 (SnapRelay, 1);
  snap_autofd int report = -1;

  for (int i = 0; i < N_SIDES; i++)
    self->near[i] = self->far[i] = -1;
  if (!make_pairs (self, error) || !launch (self, address, &report, error)
      || !take_report (self, report, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
snap_relay_free (SnapRelay *self)
{
  if (self == NULL)
    return;
  for (int i = 0; i < N_SIDES; i++) {
    snap_fd_clear (&self->near[i]);
    snap_fd_clear (&self->far[i]);
  }
  if (self->pid > 0 && snap_child_wait (self->pid, END_MS))
    snap_child_reap (self->pid, 0);
  g_free (self);
}

/* ---- its connections ---- */

int
snap_relay_take_monitor (SnapRelay *self)
{
  return snap_fd_steal (&self->near[MONITOR]);
}

int
snap_relay_take_agent (SnapRelay *self)
{
  return snap_fd_steal (&self->near[AGENT]);
}

void
snap_relay_add_far_ends (const SnapRelay *self, GArray *fds)
{
  g_array_append_vals (fds, self->far, N_SIDES);
}

int
snap_relay_qemu_pid (const SnapRelay *self)
{
  return self->qemu_pid;
}
