/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/stream.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nbd-server/socket.h"
#include "snapshot-core/base/error.h"

/* After a call that failed with @errnum: TRUE when it can be made again. */
static gboolean
can_go_on (const SnapNbdStream *self, int errnum, SnapNbdSocketUse use,
           const char *what, GError **error)
{
  if (errnum == EINTR)
    return TRUE;
  if (errnum == EAGAIN)
    return snap_nbd_socket_wait (self->fd, use, error);
  return snap_error_set_errno (error, errnum, "client: %s", what);
}

static gssize
plain_read (SnapNbdStream *self, void *buffer, gsize length, GError **error)
{
  for (;;) {
    ssize_t n = recv (self->fd, buffer, length, 0);

    if (n >= 0)
      return n;
    if (!can_go_on (self, errno, SNAP_NBD_SOCKET_READ, "receive", error))
      return -1;
  }
}

static gssize
plain_read_now (SnapNbdStream *self, void *buffer, gsize length)
{
  return recv (self->fd, buffer, length, 0);
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

    if (n >= 0)
      advance (&parts, &n_parts, n);
    else if (!can_go_on (self, errno, SNAP_NBD_SOCKET_WRITE, "send", error))
      return FALSE;
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

    if (n == 0)
      return snap_error_set (error, SNAP_ERROR_IO,
                             "export: a file became shorter while served");
    if (n > 0)
      length -= n;
    else if (!can_go_on (self, errno, SNAP_NBD_SOCKET_WRITE, "send from a file",
                         error))
      return FALSE;
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
  .read_now = plain_read_now,
  .write = plain_write,
  .send_file = plain_send_file,
  .close = plain_close,
};

SnapNbdStream *
snap_nbd_stream_new (int fd)
{
  SnapNbdStream *self = g_new0 (SnapNbdStream, 1);

  snap_nbd_socket_prepare (fd);
  self->ops = &plain_ops;
  self->fd = fd;
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
