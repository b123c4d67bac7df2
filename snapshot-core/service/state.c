/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/state.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/path.h"
#include "snapshot-core/service/hold.h"
#include "snapshot-core/service/state-text.h"

#define SET_ID_LENGTH 16

struct _SnapState {
  char *directory;
};

static char *
default_directory (void)
{
  if (geteuid () == 0)
    return g_strdup ("/var/lib/nbdsnap");
  return g_build_filename (g_get_user_state_dir (), "nbdsnap", NULL);
}

SnapState *
snap_state_new (const char *directory)
{
  SnapState *self = g_new0 (SnapState, 1);

  self->directory =
      directory != NULL ? snap_path_absolute (directory) : default_directory ();
  return self;
}

void
snap_state_free (SnapState *self)
{
  if (self == NULL)
    return;
  g_free (self->directory);
  g_free (self);
}

const char *
snap_state_directory (SnapState *self)
{
  return self->directory;
}

/* Make one directory that has a parent.  TRUE also if it was there. */
static gboolean
make_directory (const char *path, GError **error)
{
  if (mkdir (path, 0700) == 0)
    return snap_file_sync_parent (path, error);
  if (errno == EEXIST && g_file_test (path, G_FILE_TEST_IS_DIR))
    return TRUE;
  return snap_error_set_errno (error, errno, "%s", path);
}

/* Make @path and what is missing above it, from the top. */
static gboolean
make_with_parents (const char *path, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (path);

  if (!g_file_test (parent, G_FILE_TEST_IS_DIR)
      && !make_with_parents (parent, error))
    return FALSE;
  return make_directory (path, error);
}

static gboolean
make_parts (SnapState *self, GError **error)
{
  static const char *const parts[] = { "sets", "journal", "holds" };

  for (gsize i = 0; i < G_N_ELEMENTS (parts); i++) {
    g_autofree char *path = g_build_filename (self->directory, parts[i], NULL);

    if (!make_directory (path, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
snap_state_create (SnapState *self, GError **error)
{
  if (make_with_parents (self->directory, error) && make_parts (self, error))
    return TRUE;
  g_prefix_error (error, "state directory: ");
  return FALSE;
}

void
snap_state_sweep (SnapState *self)
{
  snap_state_sweep_part (self, "journal");
  snap_state_sweep_part (self, "sets");
  snap_holds_sweep (self);
}

/* ---- ids ---- */

/* From the kernel: GLib's generator repeats itself in a forked process. */
char *
snap_set_id_new (void)
{
  guint64 number;

  if (getrandom (&number, sizeof number, 0) != sizeof number)
    number = (guint64) g_random_int () << 32 | g_random_int ();
  return g_strdup_printf ("%016" G_GINT64_MODIFIER "x", number);
}

gboolean
snap_set_id_is_valid (const char *set_id)
{
  return set_id != NULL && strlen (set_id) == SET_ID_LENGTH
         && strspn (set_id, "0123456789abcdef") == SET_ID_LENGTH;
}
