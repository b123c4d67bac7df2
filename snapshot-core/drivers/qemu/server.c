/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QEMU has one NBD server.  Ours listens on a socket that we made and handed
 * over, beside the monitor's: who can connect to it has found our server, and
 * nobody needs to remember where it is.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp/json.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"

#define ENDING ".nbdsnap"
#define FD_NAME "ns-nbd"
#define BACKLOG 64

#define REMOVE_MS 10000
#define LOOK_MS 5

char *
qemu_server_path (const char *socket)
{
  return g_strconcat (socket, ENDING, NULL);
}

/* A path in a socket address is short; this one goes through the descriptor of
   its directory. */
static gboolean
make_address (const char *path, int *directory_fd, struct sockaddr_un *address)
{
  g_autofree char *directory = g_path_get_dirname (path);
  g_autofree char *file = g_path_get_basename (path);
  int length;

  *directory_fd = open (directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  address->sun_family = AF_UNIX;
  length = g_snprintf (address->sun_path, sizeof address->sun_path,
                       "/proc/self/fd/%d/%s", *directory_fd, file);
  if (*directory_fd < 0)
    return FALSE;
  errno = ENAMETOOLONG;
  return length < (int) sizeof address->sun_path;
}

static int
unix_socket (void)
{
  return socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* Whether somebody listens there on a socket that we, not another user, made. */
static gboolean
is_running (const char *path)
{
  struct sockaddr_un address = { 0 };
  snap_autofd int directory_fd = -1;
  snap_autofd int fd = unix_socket ();
  struct stat st;

  return lstat (path, &st) == 0 && S_ISSOCK (st.st_mode)
         && st.st_uid == geteuid ()
         && make_address (path, &directory_fd, &address)
         && connect (fd, (struct sockaddr *) &address, sizeof address) == 0;
}

/* -1 on error.  The mode is set before there is a name. */
static int
listen_at (const char *path, GError **error)
{
  struct sockaddr_un address = { 0 };
  snap_autofd int directory_fd = -1;
  snap_autofd int fd = unix_socket ();

  (void) g_unlink (path);
  if (fd < 0 || fchmod (fd, 0600) < 0
      || !make_address (path, &directory_fd, &address)
      || bind (fd, (struct sockaddr *) &address, sizeof address) < 0
      || listen (fd, BACKLOG) < 0) {
    snap_error_set_errno (error, errno, "%s", path);
    return -1;
  }
  return snap_fd_steal (&fd);
}

static gboolean
hand_over (QemuSession *session, int fd, GError **error)
{
  g_autoptr (JsonNode) answer = NULL;
  g_autoptr (GError) reason = NULL;
  JsonObject *address = qemu_object ("type", "fd", NULL);
  JsonObject *arguments = json_object_new ();

  json_object_set_object_member (address, "data",
                                 qemu_object ("str", FD_NAME, NULL));
  json_object_set_object_member (arguments, "addr", address);
  if (!qemu_do_with_fd (session, "getfd", qemu_object ("fdname", FD_NAME, NULL),
                        fd, &answer, error)) {
    json_object_unref (arguments);
    return FALSE;
  }
  if (qemu_do (session, "nbd-server-start", arguments, &reason))
    return TRUE;
  qemu_do (session, "closefd", qemu_object ("fdname", FD_NAME, NULL), NULL);
  return snap_error_set (
      error, reason->code == SNAP_ERROR_FAILED ? SNAP_ERROR_BUSY : reason->code,
      "%s (a QEMU has one NBD server, and somebody else may "
      "have started it)",
      reason->message);
}

/* A creator that was killed between handing the socket over and starting the
   server leaves a socket that takes connections and answers nobody: a
   descriptor that QEMU still has under its name is one that no server uses. */
static void
drop_parked (QemuSession *session)
{
  qemu_do (session, "closefd", qemu_object ("fdname", FD_NAME, NULL), NULL);
}

gboolean
qemu_server_start (QemuSession *session, const char *socket, GError **error)
{
  g_autofree char *path = qemu_server_path (socket);
  snap_autofd int fd = -1;

  drop_parked (session);
  if (is_running (path))
    return TRUE;
  fd = listen_at (path, error);
  if (fd < 0)
    return FALSE;
  if (hand_over (session, fd, error))
    return TRUE;
  (void) g_unlink (path);
  return FALSE;
}

gboolean
qemu_server_stop_idle (QemuSession *session, const char *socket, GError **error)
{
  g_autofree char *path = qemu_server_path (socket);
  g_autoptr (JsonNode) exports = NULL;

  drop_parked (session);
  if (!is_running (path)) {
    (void) g_unlink (path);
    return TRUE;
  }
  exports = qemu_ask (session, "query-block-exports", NULL, error);
  if (exports == NULL)
    return FALSE;
  if (!JSON_NODE_HOLDS_ARRAY (exports)
      || json_array_get_length (json_node_get_array (exports)) > 0)
    return TRUE;
  if (!qemu_do (session, "nbd-server-stop", NULL, error))
    return FALSE;
  (void) g_unlink (path);
  return TRUE;
}

/* ---- exports ---- */

gboolean
qemu_export_add (QemuSession *session, const char *id, const char *node,
                 JsonObject *options, GError **error)
{
  json_object_set_string_member (options, "type", "nbd");
  json_object_set_string_member (options, "id", id);
  json_object_set_string_member (options, "name", id);
  json_object_set_string_member (options, "node-name", node);
  return qemu_do (session, "block-export-add", options, error);
}

static gboolean
is_exported (QemuSession *session, const char *id, gboolean *is, GError **error)
{
  g_autoptr (JsonNode) answer =
      qemu_ask (session, "query-block-exports", NULL, error);
  JsonArray *list;

  *is = FALSE;
  if (answer == NULL)
    return FALSE;
  if (!JSON_NODE_HOLDS_ARRAY (answer))
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: no list of exports",
                           session->name);
  list = json_node_get_array (answer);
  for (guint i = 0; i < json_array_get_length (list); i++) {
    JsonObject *at = qmp_json_as_object (json_array_get_element (list, i));

    *is |= at != NULL && g_strcmp0 (qmp_json_string (at, "id"), id) == 0;
  }
  return TRUE;
}

gboolean
qemu_export_remove (QemuSession *session, const char *id, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (REMOVE_MS);
  gboolean exported;

  if (!is_exported (session, id, &exported, error))
    return FALSE;
  if (exported
      && !qemu_do (session, "block-export-del",
                   qemu_object ("id", id, "mode", "hard", NULL), error))
    return FALSE;
  while (exported) {
    if (snap_deadline_left_ms (deadline) == 0)
      return snap_error_set (error, SNAP_ERROR_BUSY,
                             "%s: export %s does not end", session->name, id);
    g_usleep (LOOK_MS * 1000);
    if (!is_exported (session, id, &exported, error))
      return FALSE;
  }
  return TRUE;
}
