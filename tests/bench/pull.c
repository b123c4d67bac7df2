/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The least that a client can do: take bytes and forget them.
 *
 *   pull bare unix|tcp CONNECTIONS FILE
 *   pull nbd SOCKET|PORT CONNECTIONS EXPORT
 *
 * "bare" takes FILE from processes of its own that send it with sendfile() and
 * nothing else: the limit of any server.  "nbd" takes an export from a server
 * on a Unix socket or a port of localhost, by simple requests of which many are
 * on the way.  Both receive alike, and fail if a byte is missing.
 */
#include "config.h"

#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST (256 * 1024)
#define ON_THE_WAY 16
#define MAX_CONNECTIONS 16

/* What one connection takes: [offset, offset + length). */
typedef struct {
  int fd;
  uint64_t offset, length;
} Part;

static void
take (int fd, void *buffer, size_t length)
{
  uint8_t *at = buffer;

  while (length > 0) {
    ssize_t n = recv (fd, at, length, 0);

    if (n <= 0)
      err (1, "receive");
    at += n;
    length -= n;
  }
}

static void
give (int fd, const void *buffer, size_t length)
{
  if (send (fd, buffer, length, MSG_NOSIGNAL) != (ssize_t) length)
    err (1, "send");
}

/* ---- sockets ---- */

static int
new_socket (int family)
{
  int fd = socket (family, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (fd < 0)
    err (1, "socket");
  return fd;
}

static int
connect_to_port (unsigned port)
{
  const struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_port = htons (port),
                                       .sin_addr.s_addr =
                                           htonl (INADDR_LOOPBACK) };
  int fd = new_socket (AF_INET);
  const int on = 1;

  if (connect (fd, (const struct sockaddr *) &address, sizeof address) < 0)
    err (1, "port %u", port);
  setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static int
connect_to (const char *where)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd;

  if (where[0] != '/')
    return connect_to_port (atoi (where));
  fd = new_socket (AF_UNIX);
  if (strlen (where) >= sizeof address.sun_path)
    errx (1, "%s: too long", where);
  strcpy (address.sun_path, where);
  if (connect (fd, (const struct sockaddr *) &address, sizeof address) < 0)
    err (1, "%s", where);
  return fd;
}

/* ---- bare ---- */

static void
make_tcp_pair (int pair[2])
{
  struct sockaddr_in address = { .sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
  socklen_t length = sizeof address;
  int listening = new_socket (AF_INET);

  if (bind (listening, (struct sockaddr *) &address, length) < 0
      || listen (listening, 1) < 0
      || getsockname (listening, (struct sockaddr *) &address, &length) < 0)
    err (1, "listen");
  pair[0] = connect_to_port (ntohs (address.sin_port));
  pair[1] = accept (listening, NULL, NULL);
  if (pair[1] < 0)
    err (1, "accept");
  close (listening);
}

static void
send_part (int fd, int file, const Part *part)
{
  off_t at = part->offset;
  off_t end = part->offset + part->length;
  const int size = 1024 * 1024;
  struct tcp_info info;
  socklen_t length = sizeof info;

  if (getsockopt (fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
    setsockopt (fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  while (at < end)
    if (sendfile (fd, file, &at, end - at) <= 0)
      err (1, "sendfile");
  _exit (0);
}

static void
begin_bare (Part *part, const char *kind, int file)
{
  int pair[2];

  if (strcmp (kind, "tcp") == 0)
    make_tcp_pair (pair);
  else if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
    err (1, "socketpair");
  if (fork () == 0)
    send_part (pair[1], file, part);
  close (pair[1]);
  part->fd = pair[0];
}

static void *
pull_bare (void *data)
{
  const Part *part = data;
  uint8_t *buffer = malloc (REQUEST);

  for (uint64_t taken = 0; taken < part->length; taken += REQUEST)
    take (part->fd, buffer, REQUEST);
  free (buffer);
  return NULL;
}

/* ---- NBD ---- */

struct request {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t cookie, offset;
  uint32_t length;
} __attribute__ ((packed));

/* The old way in needs no replies to be understood.  Returns the size. */
static uint64_t
begin_nbd (int fd, const char *export)
{
  uint8_t greeting[18];
  struct {
    uint32_t flags;
    uint64_t magic;
    uint32_t option, length;
  } __attribute__ ((packed))
  hello = { htobe32 (3), htobe64 (0x49484156454F5054), htobe32 (1),
            htobe32 (strlen (export)) };
  struct {
    uint64_t size;
    uint16_t flags;
  } __attribute__ ((packed)) reply;

  take (fd, greeting, sizeof greeting);
  give (fd, &hello, sizeof hello);
  give (fd, export, strlen (export));
  take (fd, &reply, sizeof reply);
  return be64toh (reply.size);
}

static void
ask (const Part *part, uint64_t number)
{
  const struct request request = { .magic = htobe32 (0x25609513),
                                   .cookie = number,
                                   .offset = htobe64 (part->offset
                                                      + number * REQUEST),
                                   .length = htobe32 (REQUEST) };

  give (part->fd, &request, sizeof request);
}

static void *
pull_nbd (void *data)
{
  const Part *part = data;
  uint8_t *buffer = malloc (REQUEST);
  uint64_t n = part->length / REQUEST, asked = 0;
  uint32_t header[4];

  while (asked < n && asked < ON_THE_WAY)
    ask (part, asked++);
  for (uint64_t taken = 0; taken < n; taken++) {
    take (part->fd, header, sizeof header);
    if (header[0] != htobe32 (0x67446698) || header[1] != 0)
      errx (1, "a reply with an error");
    if (asked < n)
      ask (part, asked++);
    take (part->fd, buffer, REQUEST);
  }
  free (buffer);
  return NULL;
}

/* ---- both ---- */

static void
split (Part *parts, unsigned n, uint64_t size)
{
  uint64_t each = size / n / REQUEST * REQUEST;

  if (each == 0 || each * n != size)
    errx (1, "no whole number of requests for each connection");
  for (unsigned i = 0; i < n; i++) {
    parts[i].offset = i * each;
    parts[i].length = each;
  }
}

static void
begin (Part *parts, unsigned n, char **argv, bool bare)
{
  struct stat about = { 0 };
  uint64_t size = 0;
  int file = -1;

  if (bare) {
    file = open (argv[4], O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat (file, &about) < 0)
      err (1, "%s", argv[4]);
    size = about.st_size;
  }
  for (unsigned i = 0; !bare && i < n; i++) {
    parts[i].fd = connect_to (argv[2]);
    size = begin_nbd (parts[i].fd, argv[4]);
  }
  split (parts, n, size);
  for (unsigned i = 0; bare && i < n; i++)
    begin_bare (&parts[i], argv[2], file);
}

int
main (int argc, char **argv)
{
  bool bare = argc == 5 && strcmp (argv[1], "bare") == 0;
  unsigned n = argc == 5 ? atoi (argv[3]) : 0;
  Part parts[MAX_CONNECTIONS];
  pthread_t threads[MAX_CONNECTIONS];

  if (n == 0 || n > MAX_CONNECTIONS)
    errx (2, "usage: pull bare|nbd WHERE CONNECTIONS WHAT");
  begin (parts, n, argv, bare);
  for (unsigned i = 0; i < n; i++)
    if (pthread_create (&threads[i], NULL, bare ? pull_bare : pull_nbd,
                        &parts[i])
        != 0)
      errx (1, "no thread");
  for (unsigned i = 0; i < n; i++)
    pthread_join (threads[i], NULL);
  return 0;
}
