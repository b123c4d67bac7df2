/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"

void
snap_fd_clear (int *fd)
{
  int saved = errno;

  if (*fd >= 0)
    close (*fd);
  *fd = -1;
  errno = saved;
}

int
snap_fd_steal (int *fd)
{
  int stolen = *fd;

  *fd = -1;
  return stolen;
}

static void
close_element (gpointer fd)
{
  snap_fd_clear (fd);
}

GArray *
snap_fd_array_new (void)
{
  GArray *fds = g_array_new (FALSE, FALSE, sizeof (int));

  g_array_set_clear_func (fds, close_element);
  return fds;
}

gboolean
snap_fd_write_all (int fd, const void *data, gsize length, GError **error)
{
  const guint8 *at = data;

  while (length > 0) {
    gssize n = write (fd, at, length);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return snap_error_set_errno (error, errno, "write");
    at += n;
    length -= (gsize) n;
  }
  return TRUE;
}

static gboolean
write_and_rename (int fd, const char *temporary, const char *path,
                  const char *text, GError **error)
{
  if (!snap_fd_write_all (fd, text, strlen (text), error)) {
    g_prefix_error (error, "%s: ", temporary);
    return FALSE;
  }
  if (fsync (fd) < 0)
    return snap_error_set_errno (error, errno, "%s: fsync", temporary);
  if (rename (temporary, path) < 0)
    return snap_error_set_errno (error, errno, "%s: rename", path);
  return TRUE;
}

gboolean
snap_file_replace (const char *path, const char *text, GError **error)
{
  g_autofree char *temporary = g_strconcat (path, ".XXXXXX", NULL);
  snap_autofd int fd = g_mkstemp_full (temporary, O_WRONLY | O_CLOEXEC, 0600);

  if (fd < 0)
    return snap_error_set_errno (error, errno, "%s", path);
  if (!write_and_rename (fd, temporary, path, text, error)) {
    unlink (temporary);
    return FALSE;
  }
  return snap_file_sync_parent (path, error);
}

gboolean
snap_file_remove (const char *path, GError **error)
{
  if (unlink (path) < 0 && errno != ENOENT)
    return snap_error_set_errno (error, errno, "%s: unlink", path);

  /* Also when it is gone: whoever removed it may have died before this. */
  return snap_file_sync_parent (path, error);
}

gboolean
snap_file_sync_parent (const char *path, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (path);
  snap_autofd int fd = open (parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0)
    return snap_error_set_errno (error, errno, "%s", parent);
  if (fsync (fd) < 0)
    return snap_error_set_errno (error, errno, "%s: fsync", parent);
  return TRUE;
}
