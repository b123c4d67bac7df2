/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "nbd-server/socket.h"
#include "snapshot-core/base/error.h"

#define SOCKET_TYPE (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
#define BACKLOG 1024

struct _SnapNbdListener {
  GArray *sockets; /* int */
  char *path;      /* of a Unix socket, else NULL */
  char *host;      /* as it stands in a URI, else NULL */
  guint port;
  gboolean made; /* the file at the path is ours, this one: */
  dev_t device;
  ino_t inode;
};

static SnapNbdListener *
listener_new (void)
{
  SnapNbdListener *self = g_new0 (SnapNbdListener, 1);

  self->sockets = g_array_new (FALSE, FALSE, sizeof (int));
  return self;
}

static void
remove_path (const SnapNbdListener *self)
{
  struct stat now;

  if (self->made && lstat (self->path, &now) == 0 && now.st_dev == self->device
      && now.st_ino == self->inode)
    (void) unlink (self->path);
}

void
snap_nbd_listener_let_go (SnapNbdListener *self)
{
  for (guint i = 0; i < self->sockets->len; i++)
    close (g_array_index (self->sockets, int, i));
  g_array_set_size (self->sockets, 0);
}

void
snap_nbd_listener_close (SnapNbdListener *self)
{
  if (self == NULL)
    return;
  remove_path (self);
  snap_nbd_listener_let_go (self);
  g_array_unref (self->sockets);
  g_free (self->path);
  g_free (self->host);
  g_free (self);
}

guint
snap_nbd_listener_n_sockets (const SnapNbdListener *self)
{
  return self->sockets->len;
}

int
snap_nbd_listener_socket (const SnapNbdListener *self, guint index)
{
  return g_array_index (self->sockets, int, index);
}

/* Open a socket that belongs to the listener from the start. */
static int
add_socket (SnapNbdListener *self, int family, int protocol)
{
  int fd = socket (family, SOCKET_TYPE, protocol);

  if (fd >= 0)
    g_array_append_val (self->sockets, fd);
  return fd;
}

/* ---- Unix sockets ---- */

static gboolean
fill_unix_address (const char *path, struct sockaddr_un *address,
                   GError **error)
{
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  if (*path == '\0')
    return snap_error_set (error, SNAP_ERROR_USAGE, "unix:: no path");
  if (strlen (path) >= sizeof address->sun_path)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "%s: too long for a socket, %zu bytes at most", path,
                           sizeof address->sun_path - 1);
  strcpy (address->sun_path, path);
  return TRUE;
}

/* 0 or an errno. */
static int
bind_unix (int fd, const struct sockaddr_un *address)
{
  return bind (fd, (const struct sockaddr *) address, sizeof *address) == 0
             ? 0
             : errno;
}

/* Whether a server that is gone left the socket behind. */
static gboolean
is_abandoned (const struct sockaddr_un *address)
{
  int fd = socket (AF_UNIX, SOCKET_TYPE, 0);
  gboolean refused;

  if (fd < 0)
    return FALSE;
  refused = connect (fd, (const struct sockaddr *) address, sizeof *address) < 0
            && errno == ECONNREFUSED;
  close (fd);
  return refused;
}

/* What is no socket is never removed. */
static gboolean
remove_abandoned (const struct sockaddr_un *address)
{
  struct stat there;

  return lstat (address->sun_path, &there) == 0 && S_ISSOCK (there.st_mode)
         && is_abandoned (address) && unlink (address->sun_path) == 0;
}

static int
bind_or_replace (int fd, const struct sockaddr_un *address)
{
  int errnum = bind_unix (fd, address);

  return errnum == EADDRINUSE && remove_abandoned (address)
             ? bind_unix (fd, address)
             : errnum;
}

static gboolean
bind_path (SnapNbdListener *self, int fd, const struct sockaddr_un *address,
           GError **error)
{
  struct stat made;
  int errnum;

  /* The mode of the socket becomes that of the file: nobody else can connect
     at any moment. */
  if (fchmod (fd, 0600) < 0)
    return snap_error_set_errno (error, errno, "%s: mode", self->path);
  errnum = bind_or_replace (fd, address);
  if (errnum == EADDRINUSE)
    return snap_error_set (error, SNAP_ERROR_BUSY, "%s: is there already",
                           self->path);
  if (errnum != 0)
    return snap_error_set_errno (error, errnum, "%s: bind", self->path);
  if (lstat (self->path, &made) == 0) {
    self->made = TRUE;
    self->device = made.st_dev;
    self->inode = made.st_ino;
  }
  return TRUE;
}

static SnapNbdListener *
open_unix (const char *path, GError **error)
{
  g_autoptr (SnapNbdListener) self = listener_new ();
  struct sockaddr_un address;
  int fd;

  if (!fill_unix_address (path, &address, error))
    return NULL;
  self->path = g_strdup (path);
  fd = add_socket (self, AF_UNIX, 0);
  if (fd < 0) {
    snap_error_set_errno (error, errno, "%s: socket", path);
    return NULL;
  }
  if (!bind_path (self, fd, &address, error))
    return NULL;
  if (listen (fd, BACKLOG) < 0) {
    snap_error_set_errno (error, errno, "%s: listen", path);
    return NULL;
  }
  return g_steal_pointer (&self);
}

/* ---- TCP ---- */

/* Split "HOST:PORT" or "[HOST]:PORT"; the caller frees both. */
static gboolean
split_host (const char *text, char **host, char **port)
{
  const char *colon = strrchr (text, ':');
  gsize length;

  if (colon == NULL || colon[1] == '\0')
    return FALSE;
  length = colon - text;
  if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
    text++;
    length -= 2;
  }
  *host = g_strndup (text, length);
  *port = g_strdup (colon + 1);
  return TRUE;
}

/* The port that the kernel chose, or that the first socket got. */
static guint
port_of (int fd)
{
  struct sockaddr_storage bound = { 0 };
  socklen_t length = sizeof bound;
  char port[NI_MAXSERV];

  if (getsockname (fd, (struct sockaddr *) &bound, &length) < 0
      || getnameinfo ((struct sockaddr *) &bound, length, NULL, 0, port,
                      sizeof port, NI_NUMERICSERV)
             != 0)
    return 0;
  return g_ascii_strtoull (port, NULL, 10);
}

static void
set_port (struct sockaddr *address, guint port)
{
  /* At the same place for both families. */
  const guint16 big = GUINT16_TO_BE (port);

  if (address->sa_family == AF_INET || address->sa_family == AF_INET6)
    memcpy (address->sa_data, &big, sizeof big);
}

/* With port 0, all sockets of a host get the port of the first. */
static gboolean
listen_to (SnapNbdListener *self, const struct addrinfo *info)
{
  int fd = add_socket (self, info->ai_family, info->ai_protocol);
  const int on = 1;

  if (fd < 0)
    return FALSE;
  (void) setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (info->ai_family == AF_INET6)
    (void) setsockopt (fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (self->port != 0)
    set_port (info->ai_addr, self->port);
  if (bind (fd, info->ai_addr, info->ai_addrlen) < 0)
    return FALSE;
  snap_nbd_socket_prepare_listening (fd);
  if (listen (fd, BACKLOG) < 0)
    return FALSE;
  self->port = port_of (fd);
  return TRUE;
}

/* A family that this machine does not have is left out. */
static gboolean
listen_to_all (SnapNbdListener *self, const char *address,
               const struct addrinfo *infos, GError **error)
{
  guint n_listening = 0;

  for (const struct addrinfo *info = infos; info != NULL;
       info = info->ai_next) {
    if (listen_to (self, info)) {
      n_listening++;
      continue;
    }
    if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL)
      return errno == EADDRINUSE
                 ? snap_error_set (error, SNAP_ERROR_BUSY,
                                   "%s: somebody listens there", address)
                 : snap_error_set_errno (error, errno, "%s: listen", address);
    if (self->sockets->len > n_listening) {
      close (g_array_index (self->sockets, int, n_listening));
      g_array_set_size (self->sockets, n_listening);
    }
  }
  return n_listening > 0
         || snap_error_set (error, SNAP_ERROR_IO,
                            "%s: not an address of this machine", address);
}

/* What clients on this machine can use, where it stands for every address. */
static char *
host_for_uri (const char *host)
{
  if (*host == '\0' || g_str_equal (host, "0.0.0.0")
      || g_str_equal (host, "::"))
    return g_strdup ("localhost");
  return strchr (host, ':') != NULL ? g_strdup_printf ("[%s]", host)
                                    : g_strdup (host);
}

static SnapNbdListener *
open_tcp (const char *text, GError **error)
{
  const struct addrinfo hints = { .ai_flags = AI_PASSIVE,
                                  .ai_socktype = SOCK_STREAM };
  g_autoptr (SnapNbdListener) self = listener_new ();
  g_autofree char *host = NULL;
  g_autofree char *port = NULL;
  struct addrinfo *infos;
  gboolean listening;
  int status;

  if (!split_host (text, &host, &port)) {
    snap_error_set (error, SNAP_ERROR_USAGE, "tcp:%s: no HOST:PORT", text);
    return NULL;
  }
  status = getaddrinfo (*host != '\0' ? host : NULL, port, &hints, &infos);
  if (status != 0) {
    snap_error_set (error, SNAP_ERROR_USAGE, "tcp:%s: %s", text,
                    gai_strerror (status));
    return NULL;
  }
  self->host = host_for_uri (host);
  listening = listen_to_all (self, text, infos, error);
  freeaddrinfo (infos);
  return listening ? g_steal_pointer (&self) : NULL;
}

/* ---- both ---- */

SnapNbdListener *
snap_nbd_listener_open (const char *address, GError **error)
{
  if (g_str_has_prefix (address, "unix:"))
    return open_unix (address + strlen ("unix:"), error);
  if (g_str_has_prefix (address, "tcp:"))
    return open_tcp (address + strlen ("tcp:"), error);
  snap_error_set (error, SNAP_ERROR_USAGE,
                  "%s: neither unix:PATH nor tcp:HOST:PORT", address);
  return NULL;
}

static gboolean
is_listening (int fd)
{
  int listening = 0;
  socklen_t length = sizeof listening;

  return getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0
         && listening;
}

/* What clients can use: the path, or the numeric address. */
static void
find_address (SnapNbdListener *self, int fd)
{
  struct sockaddr_storage bound = { 0 };
  socklen_t length = sizeof bound;
  char host[NI_MAXHOST];

  if (getsockname (fd, (struct sockaddr *) &bound, &length) < 0)
    return;
  if (bound.ss_family == AF_UNIX)
    self->path = g_strdup (((struct sockaddr_un *) &bound)->sun_path);
  else if (getnameinfo ((struct sockaddr *) &bound, length, host, sizeof host,
                        NULL, 0, NI_NUMERICHOST)
           == 0)
    self->host = host_for_uri (host);
  self->port = port_of (fd);
}

SnapNbdListener *
snap_nbd_listener_adopt (int fd, GError **error)
{
  g_autoptr (SnapNbdListener) self = listener_new ();

  if (!is_listening (fd)) {
    snap_error_set (error, SNAP_ERROR_USAGE,
                    "descriptor %d: no socket that listens", fd);
    return NULL;
  }
  if (fcntl (fd, F_SETFL, O_NONBLOCK) < 0
      || fcntl (fd, F_SETFD, FD_CLOEXEC) < 0) {
    snap_error_set_errno (error, errno, "descriptor %d", fd);
    return NULL;
  }
  g_array_append_val (self->sockets, fd);
  find_address (self, fd);
  return g_steal_pointer (&self);
}

/* Add "KEY=VALUE" to a query that may be empty. */
static void
add_to_query (GString *query, const char *key, const char *value)
{
  g_autofree char *escaped = g_uri_escape_string (value, "/", FALSE);

  g_string_append_printf (query, "%c%s=%s", query->len == 0 ? '?' : '&', key,
                          escaped);
}

char *
snap_nbd_listener_uri (const SnapNbdListener *self, const char *name,
                       const SnapNbdUriTls *tls)
{
  g_autofree char *export = g_uri_escape_string (name, NULL, FALSE);
  g_autofree char *client = tls != NULL && tls->client != NULL
                                ? g_uri_escape_string (tls->client, NULL, FALSE)
                                : NULL;
  g_autoptr (GString) query = g_string_new (NULL);
  GString *uri = g_string_new (tls != NULL ? "nbds" : "nbd");

  g_string_append (uri, self->path != NULL ? "+unix://" : "://");
  if (client != NULL)
    g_string_append_printf (uri, "%s@", client);
  if (self->path == NULL)
    g_string_append_printf (uri, "%s:%u", self->host, self->port);
  else
    add_to_query (query, "socket", self->path);
  if (tls != NULL && tls->psk_file != NULL)
    add_to_query (query, "tls-psk-file", tls->psk_file);
  g_string_append_printf (uri, "/%s%s", export, query->str);
  return g_string_free (uri, FALSE);
}
