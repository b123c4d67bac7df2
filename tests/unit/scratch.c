/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/scratch.h"

#include <glib/gstdio.h>

char *
scratch_new (void)
{
  GError *error = NULL;
  char *path = g_dir_make_tmp ("nbdsnap-test-XXXXXX", &error);

  g_assert_no_error (error);
  return path;
}

static void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *child = g_build_filename (path, name, NULL);

    remove_tree (child);
  }
  g_remove (path);
}

void
scratch_free (char *path)
{
  if (path != NULL)
    remove_tree (path);
  g_free (path);
}

static void
copy_tree (const char *from, const char *to)
{
  g_autoptr (GDir) dir = g_dir_open (from, 0, NULL);
  const char *name;

  if (dir == NULL) {
    g_autofree char *text = NULL;
    gsize length;

    g_assert_true (g_file_get_contents (from, &text, &length, NULL));
    g_assert_true (g_file_set_contents (to, text, length, NULL));
    return;
  }
  g_mkdir_with_parents (to, 0700);
  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *child = g_build_filename (from, name, NULL);
    g_autofree char *copy = g_build_filename (to, name, NULL);

    copy_tree (child, copy);
  }
}

char *
scratch_copy (const char *path)
{
  char *copy = scratch_new ();

  copy_tree (path, copy);
  return copy;
}
