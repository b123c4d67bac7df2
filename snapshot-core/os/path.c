/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/path.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *
snap_path_absolute (const char *path)
{
  g_autofree char *directory = NULL;

  if (path[0] == '/')
    return g_strdup (path);
  directory = g_get_current_dir ();
  return g_strconcat (directory, "/", path, NULL);
}

/* Where a file would be that is not there; NULL with errno. */
static char *
resolve_missing (const char *path)
{
  g_autofree char *directory = g_path_get_dirname (path);
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *resolved = realpath (directory, NULL);

  if (resolved == NULL)
    return NULL;
  if (!g_str_has_suffix (path, name)) {
    errno = ENOENT;
    return NULL;
  }
  return g_build_filename (resolved, name, NULL);
}

char *
snap_path_resolve (const char *path)
{
  char *resolved = realpath (path, NULL);
  struct stat st;

  if (resolved != NULL || errno != ENOENT)
    return resolved;
  /* A symbolic link to a file that is not there. */
  if (lstat (path, &st) == 0) {
    errno = ENOENT;
    return NULL;
  }
  return resolve_missing (path);
}

char *
snap_path_of_backing (const char *path, const char *backing)
{
  g_autofree char *directory = g_path_get_dirname (path);
  const char *name = backing;

  if (g_str_has_prefix (name, "file:"))
    name += strlen ("file:");
  if (name[strcspn (name, ":/")] == ':')
    return NULL;
  return name[0] == '/' ? g_strdup (name)
                        : g_strconcat (directory, "/", name, NULL);
}

int
snap_path_access (const char *path)
{
  return faccessat (AT_FDCWD, path, R_OK, AT_EACCESS) == 0 ? 0 : errno;
}
