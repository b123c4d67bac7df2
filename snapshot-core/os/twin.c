/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/twin.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"

struct _SnapTwin {
  pid_t pid;
  int socket;
};

/* Room for one descriptor beside a message. */
typedef union {
  struct cmsghdr aligned;
  char bytes[CMSG_SPACE (sizeof (int))];
} Control;

/* ---- its life ---- */

/* A manager signals all processes of a service: this one ends when the first
   is done. */
static void
live (const char *name, SnapTwinFunc func, int socket, gpointer user_data)
{
  static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1 };

  for (gsize i = 0; i < G_N_ELEMENTS (numbers); i++)
    signal (numbers[i], SIG_IGN);
  prctl (PR_SET_NAME, name);
  func (socket, user_data);
  _exit (0);
}

SnapTwin *
snap_twin_start (const char *name, SnapTwinFunc func, gpointer user_data,
                 GError **error)
{
  int sockets[2];
  SnapTwin *self;
  pid_t pid;

  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
    snap_error_set_errno (error, errno, "socket pair");
    return NULL;
  }
  /* What is buffered would be written twice. */
  fflush (NULL);
  pid = fork ();
  if (pid == 0) {
    close (sockets[0]);
    live (name, func, sockets[1], user_data);
  }
  close (sockets[1]);
  if (pid < 0) {
    snap_error_set_errno (error, errno, "fork");
    close (sockets[0]);
    return NULL;
  }
  self = g_new0 (SnapTwin, 1);
  self->pid = pid;
  self->socket = sockets[0];
  return self;
}

void
snap_twin_end (SnapTwin *self)
{
  if (self == NULL)
    return;
  close (self->socket);
  while (waitpid (self->pid, NULL, 0) < 0 && errno == EINTR)
    continue;
  g_free (self);
}

/* ---- messages ---- */

gboolean
snap_twin_send (SnapTwin *self, const void *message, gsize length, int fd,
                GError **error)
{
  struct iovec part = { (void *) message, length };
  Control control = { 0 };
  struct msghdr header = { .msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control };
  struct cmsghdr *rights = CMSG_FIRSTHDR (&header);
  ssize_t n;

  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN (sizeof fd);
  memcpy (CMSG_DATA (rights), &fd, sizeof fd);
  do
    n = sendmsg (self->socket, &header, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n >= 0
         || snap_error_set (error, SNAP_ERROR_IO,
                            "the process with privileges has ended");
}

static int
take_descriptor (struct msghdr *header)
{
  const struct cmsghdr *rights = CMSG_FIRSTHDR (header);
  int fd = -1;

  if (rights != NULL && rights->cmsg_level == SOL_SOCKET
      && rights->cmsg_type == SCM_RIGHTS
      && rights->cmsg_len == CMSG_LEN (sizeof fd))
    memcpy (&fd, CMSG_DATA (rights), sizeof fd);
  return fd;
}

gsize
snap_twin_receive (int socket, void *message, gsize length, int *fd)
{
  struct iovec part = { message, length };
  Control control = { 0 };
  struct msghdr header = { .msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control };
  ssize_t n;

  do
    n = recvmsg (socket, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  *fd = n > 0 ? take_descriptor (&header) : -1;
  return n > 0 ? n : 0;
}
