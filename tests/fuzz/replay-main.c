/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run a fuzz target over the files and folders given, or over the seeds of
 * the target; one TAP line a file.
 */
#include "config.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz-target.h"

static int
compare_paths (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

static void
collect (GPtrArray *paths, const char *path)
{
  g_autoptr (GDir) folder = g_dir_open (path, 0, NULL);
  const char *name;

  if (folder == NULL) {
    g_ptr_array_add (paths, g_strdup (path));
    return;
  }
  while ((name = g_dir_read_name (folder)) != NULL)
    g_ptr_array_add (paths, g_build_filename (path, name, NULL));
}

/* "…/fuzz-NAME" has its seeds in tests/fuzz/seeds/NAME. */
static char *
find_seeds (const char *program)
{
  const char *source = g_getenv ("abs_top_srcdir");
  const char *name = g_strrstr (program, "fuzz-");

  g_assert_nonnull (name);
  return g_build_filename (source != NULL ? source : ".", "tests", "fuzz",
                           "seeds", name + strlen ("fuzz-"), NULL);
}

/* The target gets a copy of exactly that size, so that an over-read shows. */
static gboolean
replay (const char *path, GError **error)
{
  g_autofree char *text = NULL;
  g_autofree guint8 *copy = NULL;
  gsize length = 0;

  if (!g_file_get_contents (path, &text, &length, error))
    return FALSE;
  copy = g_memdup2 (text, length);
  LLVMFuzzerTestOneInput (copy, length);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *seeds = find_seeds (argv[0]);
  int failed = 0;

  LLVMFuzzerInitialize (&argc, &argv);
  for (int i = 1; i < argc; i++)
    collect (paths, argv[i]);
  if (argc == 1)
    collect (paths, seeds);
  g_ptr_array_sort (paths, compare_paths);
  printf ("1..%u\n", paths->len);
  for (guint i = 0; i < paths->len; i++) {
    const char *path = g_ptr_array_index (paths, i);
    g_autofree char *name = g_path_get_basename (path);
    g_autoptr (GError) error = NULL;
    gboolean ok = replay (path, &error);

    printf ("%sok %u - %s%s%s\n", ok ? "" : "not ", i + 1, name, ok ? "" : ": ",
            ok ? "" : error->message);
    fflush (stdout);
    failed |= !ok;
  }
  return failed;
}
