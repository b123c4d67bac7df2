/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/stream.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"

/* What the kernel may take in before the peer reads it, bytes: enough to keep
   both sides busy.  More than the system's limit is cut to that. */
#define SEND_BUFFER (1024 * 1024)

static gssize
plain_read (SnapNbdStream *self, void *buffer, gsize length, GError **error)
{
  for (;;) {
    ssize_t n = recv (self->fd, buffer, length, 0);

    if (n >= 0)
      return n;
    if (errno != EINTR) {
      snap_error_set_errno (error, errno, "client: receive");
      return -1;
    }
  }
}

/* Step over the first @n bytes of the parts. */
static void
advance (struct iovec **parts, int *n_parts, gsize n)
{
  while (*n_parts > 0 && n >= (*parts)->iov_len) {
    n -= (*parts)->iov_len;
    ++*parts;
    --*n_parts;
  }
  if (*n_parts > 0) {
    (*parts)->iov_base = (guint8 *) (*parts)->iov_base + n;
    (*parts)->iov_len -= n;
  }
}

static gboolean
plain_write (SnapNbdStream *self, struct iovec *parts, int n_parts,
             gboolean more, GError **error)
{
  int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);

  while (n_parts > 0) {
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = n_parts };
    ssize_t n = sendmsg (self->fd, &message, flags);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return snap_error_set_errno (error, errno, "client: send");
    advance (&parts, &n_parts, n);
  }
  return TRUE;
}

static gboolean
plain_send_file (SnapNbdStream *self, int fd, guint64 offset, guint64 length,
                 GError **error)
{
  off_t at = offset;

  while (length > 0) {
    ssize_t n = sendfile (self->fd, fd, &at, length);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return snap_error_set_errno (error, errno, "client: send from a file");
    if (n == 0)
      return snap_error_set (error, SNAP_ERROR_IO,
                             "export: a file became shorter while served");
    length -= n;
  }
  return TRUE;
}

static void
plain_close (SnapNbdStream *self)
{
  close (self->fd);
  g_free (self);
}

static const SnapNbdStreamOps plain_ops = {
  .read = plain_read,
  .write = plain_write,
  .send_file = plain_send_file,
  .close = plain_close,
};

SnapNbdStream *
snap_nbd_stream_new (int fd)
{
  SnapNbdStream *self = g_new0 (SnapNbdStream, 1);
  const int size = SEND_BUFFER;
  const int on = 1;

  self->ops = &plain_ops;
  self->fd = fd;
  /* A peer that vanished is noticed some day; the rest is for speed.  Those
     of TCP fail on Unix sockets. */
  (void) setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void) setsockopt (fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  (void) setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return self;
}

void
snap_nbd_stream_close (SnapNbdStream *self)
{
  if (self != NULL)
    self->ops->close (self);
}

void
snap_nbd_stream_forget (SnapNbdStream *self)
{
  g_return_if_fail (self->ops == &plain_ops);
  g_free (self);
}

gboolean
snap_nbd_stream_write (SnapNbdStream *self, const void *data, gsize length,
                       GError **error)
{
  struct iovec part = { (void *) data, length };

  return self->ops->write (self, &part, 1, FALSE, error);
}

/* ---- the socket ---- */

static void
set_timeout (int fd, int option, guint ms)
{
  const struct timeval time = { .tv_sec = ms / 1000,
                                .tv_usec = ms % 1000 * 1000 };

  (void) setsockopt (fd, SOL_SOCKET, option, &time, sizeof time);
}

void
snap_nbd_socket_set_timeout (int fd, guint read_ms, guint write_ms)
{
  set_timeout (fd, SO_RCVTIMEO, read_ms);
  set_timeout (fd, SO_SNDTIMEO, write_ms);
}

void
snap_nbd_socket_end_input (int fd)
{
  (void) shutdown (fd, SHUT_RD);
}

void
snap_nbd_socket_end_output (int fd)
{
  (void) shutdown (fd, SHUT_WR);
}

/* A peer on this machine acknowledges what it has not read; that it has is
   only known when it ends, too. */
static gboolean
is_taken_over_tcp (const struct tcp_info *info)
{
  return info->tcpi_state == TCP_CLOSE || info->tcpi_state == TCP_TIME_WAIT;
}

gboolean
snap_nbd_socket_is_taken (int fd)
{
  guint32 memory[SK_MEMINFO_VARS] = { 0 };
  struct tcp_info info;
  socklen_t length = sizeof info;

  if (getsockopt (fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
    return is_taken_over_tcp (&info);
  /* Between Unix sockets, what waits at the peer is accounted here. */
  length = sizeof memory;
  return getsockopt (fd, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0
         || memory[SK_MEMINFO_WMEM_ALLOC] == 0;
}

void
snap_nbd_socket_break (int fd)
{
  (void) shutdown (fd, SHUT_RDWR);
}
