/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/qmp-peer.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct _QmpPeer {
  GThread *thread;
  QmpScript script;
  int listener; /* or -1 */
  int fd;
  int passed; /* the last descriptor that came, or -1 */
  char *folder, *path;
  GString *input; /* behind the last line */
  char *line;
  char *id;
};

static gpointer
run (gpointer user_data)
{
  QmpPeer *self = user_data;

  if (self->listener >= 0) {
    self->fd = accept (self->listener, NULL, NULL);
    g_assert_cmpint (self->fd, >=, 0);
  }
  self->script (self);
  shutdown (self->fd, SHUT_RDWR); /* a child may have it, too */
  close (self->fd);
  return NULL;
}

static QmpPeer *
make_peer (QmpScript script, int listener, int fd)
{
  QmpPeer *self = g_new0 (QmpPeer, 1);

  self->script = script;
  self->listener = listener;
  self->fd = fd;
  self->passed = -1;
  self->input = g_string_new (NULL);
  return self;
}

QmpPeer *
qmp_peer_start (QmpScript script, int *fd)
{
  QmpPeer *self;
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==,
                   0);
  self = make_peer (script, -1, fds[1]);
  *fd = fds[0];
  self->thread = g_thread_new ("peer", run, self);
  return self;
}

QmpPeer *
qmp_peer_listen (QmpScript script)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  QmpPeer *self = make_peer (script, listener, -1);

  self->folder = g_dir_make_tmp ("peer-XXXXXX", NULL);
  self->path = g_build_filename (self->folder, "socket", NULL);
  g_assert_cmpuint (strlen (self->path), <, sizeof address.sun_path);
  strcpy (address.sun_path, self->path);
  g_assert_cmpint (
      bind (listener, (struct sockaddr *) &address, sizeof address), ==, 0);
  g_assert_cmpint (listen (listener, 1), ==, 0);
  self->thread = g_thread_new ("peer", run, self);
  return self;
}

const char *
qmp_peer_path (QmpPeer *self)
{
  return self->path;
}

void
qmp_peer_join (QmpPeer *self)
{
  g_thread_join (self->thread);
  if (self->passed >= 0)
    close (self->passed);
  if (self->listener >= 0) {
    close (self->listener);
    g_unlink (self->path);
    g_rmdir (self->folder);
  }
  g_string_free (self->input, TRUE);
  g_free (self->folder);
  g_free (self->path);
  g_free (self->line);
  g_free (self->id);
  g_free (self);
}

/* ---- saying ---- */

void
qmp_peer_say_bytes (QmpPeer *self, const char *bytes, gsize length)
{
  while (length > 0) {
    gssize n = send (self->fd, bytes, length, MSG_NOSIGNAL);

    g_assert_cmpint (n, >, 0);
    bytes += n;
    length -= (gsize) n;
  }
}

void
qmp_peer_say (QmpPeer *self, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  qmp_peer_say_bytes (self, text, strlen (text));
}

/* ---- hearing ---- */

static void
keep_fd (QmpPeer *self, struct msghdr *message)
{
  struct cmsghdr *control = CMSG_FIRSTHDR (message);

  if (control != NULL && control->cmsg_type == SCM_RIGHTS)
    memcpy (&self->passed, CMSG_DATA (control), sizeof self->passed);
}

/* FALSE at the end. */
static gboolean
receive (QmpPeer *self)
{
  char chunk[65536];
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control;
  struct iovec part = { chunk, sizeof chunk };
  struct msghdr message = { .msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control };
  gssize n = recvmsg (self->fd, &message, 0);

  g_assert_true (n >= 0 || errno == ECONNRESET);
  if (n <= 0)
    return FALSE;
  keep_fd (self, &message);
  g_string_append_len (self->input, chunk, n);
  return TRUE;
}

const char *
qmp_peer_hear (QmpPeer *self)
{
  char *end;

  while ((end = memchr (self->input->str, '\n', self->input->len)) == NULL)
    g_assert_true (receive (self));
  g_free (self->line);
  self->line = g_strndup (self->input->str, (gsize) (end - self->input->str));
  g_string_erase (self->input, 0, end - self->input->str + 1);
  return self->line;
}

/* The value of a member as it was written, without quotes; NULL if none. */
static char *
find_member (const char *line, const char *member)
{
  g_autofree char *key = g_strdup_printf ("\"%s\":", member);
  const char *at = strstr (line, key);

  if (at == NULL)
    return NULL;
  at += strlen (key);
  if (*at == '"')
    at++;
  return g_strndup (at, strcspn (at, "\",}"));
}

const char *
qmp_peer_hear_command (QmpPeer *self, const char *command)
{
  g_autofree char *heard = find_member (qmp_peer_hear (self), "execute");

  g_assert_cmpstr (heard, ==, command);
  g_free (self->id);
  self->id = find_member (self->line, "id");
  return self->id;
}

void
qmp_peer_serve (QmpPeer *self, const char *command, const char *value)
{
  const char *id = qmp_peer_hear_command (self, command);

  qmp_peer_say (self, "{\"return\": %s, \"id\": \"%s\"}\r\n", value, id);
}

void
qmp_peer_greet (QmpPeer *self)
{
  qmp_peer_say (self, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, "
                      "\"minor\": 2, \"major\": 7}, \"package\": \"\"}, "
                      "\"capabilities\": [\"oob\"]}}\r\n");
  qmp_peer_serve (self, "qmp_capabilities", "{}");
}

void
qmp_peer_sync (QmpPeer *self)
{
  const char *id = qmp_peer_hear_command (self, "guest-sync-delimited");

  g_assert_cmpint (self->line[0], ==, '\xff');
  qmp_peer_say (self, "\xff{\"return\": %s}\n", id);
}

void
qmp_peer_serve_agent (QmpPeer *self, const char *command, const char *answer)
{
  qmp_peer_hear_command (self, command);
  qmp_peer_say (self, "%s\n", answer);
}

void
qmp_peer_await_end (QmpPeer *self)
{
  while (receive (self))
    ;
}

int
qmp_peer_take_fd (QmpPeer *self)
{
  int fd = self->passed;

  self->passed = -1;
  return fd;
}
