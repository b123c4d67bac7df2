/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/path.h"

#include <glib.h>
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
