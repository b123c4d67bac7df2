/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "snapshot-core/base/error.h"

/* What the kernel may take in before the peer reads it, bytes: enough to keep
   both sides busy.  More than the system's limit is cut to that. */
#define SEND_BUFFER (1024 * 1024)

/* ---- a new one ---- */

static gboolean
is_bound_to_loopback (int fd)
{
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } address = { 0 };
  socklen_t length = sizeof address;

  if (getsockname (fd, &address.any, &length) < 0)
    return FALSE;
  if (address.any.sa_family == AF_INET)
    return ntohl (address.v4.sin_addr.s_addr) >> IN_CLASSA_NSHIFT
           == IN_LOOPBACKNET;
  return address.any.sa_family == AF_INET6
         && IN6_IS_ADDR_LOOPBACK (&address.v6.sin6_addr);
}

/* Within one machine there is no bandwidth to be found out, and no queue to be
   kept short.  Where the system does so for every connection (BBR), its timers
   take half of the time.  Reno is always there and allowed to everybody. */
void
snap_nbd_socket_prepare_listening (int fd)
{
  static const char name[] = "reno";

  if (is_bound_to_loopback (fd))
    (void) setsockopt (fd, IPPROTO_TCP, TCP_CONGESTION, name, strlen (name));
}

/* A peer that vanished is noticed some day; the rest is for speed.  What is of
   TCP fails on Unix sockets. */
void
snap_nbd_socket_prepare (int fd)
{
  int flags = fcntl (fd, F_GETFL);
  const int size = SEND_BUFFER;
  const int on = 1;

  if (flags >= 0)
    (void) fcntl (fd, F_SETFL, flags | O_NONBLOCK);
  (void) setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void) setsockopt (fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  (void) setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* ---- waiting ---- */

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

/* What was set, in milliseconds; -1 is forever. */
static int
timeout_of (int fd, int option)
{
  struct timeval time = { 0 };
  socklen_t length = sizeof time;

  if (getsockopt (fd, SOL_SOCKET, option, &time, &length) < 0
      || (time.tv_sec == 0 && time.tv_usec == 0))
    return -1;
  return time.tv_sec * 1000 + time.tv_usec / 1000;
}

gboolean
snap_nbd_socket_wait (int fd, SnapNbdSocketUse use, GError **error)
{
  gboolean reads = use == SNAP_NBD_SOCKET_READ;
  struct pollfd wait = { .fd = fd, .events = reads ? POLLIN : POLLOUT };
  int timeout = timeout_of (fd, reads ? SO_RCVTIMEO : SO_SNDTIMEO);
  int n;

  do
    n = poll (&wait, 1, timeout);
  while (n < 0 && errno == EINTR);
  if (n > 0)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_BUSY, "client: nothing in time");
}

/* ---- the end ---- */

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
