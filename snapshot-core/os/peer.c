/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "snapshot-core/base/error.h"

static gboolean
find_pid (int socket_fd, int *pid)
{
  struct ucred peer = { 0 };
  socklen_t length = sizeof peer;
  gboolean found =
      getsockopt (socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0;

  *pid = found ? (int) peer.pid : 0;
  return found;
}

/* A name without a directory is meant from where the peer is. */
static char *
make_absolute (const char *process, const char *filename, GError **error)
{
  g_autofree char *link = g_build_filename (process, "cwd", NULL);
  g_autofree char *directory = NULL;

  if (g_path_is_absolute (filename))
    return g_strdup (filename);
  directory = g_file_read_link (link, NULL);
  if (directory != NULL)
    return g_build_filename (directory, filename, NULL);
  snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                  "%s: its directory cannot be read", process);
  return NULL;
}

/* Devices are compared by what they are, not by which node names them. */
static gboolean
is_same_file (const struct stat *a, const struct stat *b)
{
  if (S_ISBLK (a->st_mode) && S_ISBLK (b->st_mode))
    return a->st_rdev == b->st_rdev;
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static gboolean
has_open (const char *process, const struct stat *file, GError **error)
{
  g_autofree char *path = g_build_filename (process, "fd", NULL);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  if (dir == NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: cannot be looked at", path);
  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *link = g_build_filename (path, name, NULL);
    struct stat held;

    if (stat (link, &held) == 0 && is_same_file (&held, file))
      return TRUE;
  }
  return snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                         "is another file here than for %s", process);
}

char *
snap_process_find_file (int pid, const char *filename, GError **error)
{
  g_autofree char *process = g_strdup_printf ("/proc/%d", pid);
  g_autofree char *path = NULL;
  struct stat file;

  if (pid <= 0) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "its process cannot be seen from here");
    return NULL;
  }
  path = make_absolute (process, filename, error);
  if (path == NULL)
    return NULL;
  if (stat (path, &file) < 0) {
    snap_error_set_errno (error, errno, "%s", path);
    return NULL;
  }
  if (!has_open (process, &file, error)) {
    g_prefix_error (error, "%s: ", path);
    return NULL;
  }
  return g_steal_pointer (&path);
}

char *
snap_peer_find_file (int socket_fd, const char *filename, GError **error)
{
  int pid;

  return snap_process_find_file (find_pid (socket_fd, &pid) ? pid : 0, filename,
                                 error);
}
