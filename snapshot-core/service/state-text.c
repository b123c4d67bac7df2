/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/state-text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"

char *
snap_state_read_text (const char *path, GError **error)
{
  g_autoptr (GError) reason = NULL;
  char *text = NULL;

  if (!g_file_get_contents (path, &text, NULL, &reason)
      && !g_error_matches (reason, G_FILE_ERROR, G_FILE_ERROR_NOENT))
    snap_error_set (error, SNAP_ERROR_IO, "%s: %s", path, reason->message);
  return text;
}

char *
snap_state_build_path (SnapState *state, const char *part, const char *id,
                       const char *suffix)
{
  g_autofree char *name = g_strconcat (id, suffix, NULL);

  return g_build_filename (snap_state_directory (state), part, name, NULL);
}

gboolean
snap_state_open_part (SnapState *state, const char *part, GDir **dir,
                      GError **error)
{
  g_autofree char *path =
      g_build_filename (snap_state_directory (state), part, NULL);
  snap_autofd int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  *dir = NULL;
  if (fd < 0)
    return errno == ENOENT
           || snap_error_set_errno (error, errno, "state directory %s", path);
  *dir = g_dir_open (path, 0, NULL);
  return *dir != NULL
         || snap_error_set (error, SNAP_ERROR_IO,
                            "state directory %s: cannot be listed", path);
}

/* ---- what the dead leave beside documents ---- */

/* The document that a lock file, a temporary file or notes belong to; NULL for
   a document itself and for files that are not ours. */
static char *
id_of_leftover (const char *name)
{
  g_autofree char *id = g_strndup (name, strcspn (name, "."));
  const char *rest = name + strlen (id);

  if (!snap_set_id_is_valid (id)
      || (!g_str_equal (rest, SNAP_STATE_LOCK_SUFFIX)
          && !g_str_equal (rest, SNAP_STATE_NOTES_SUFFIX)
          && !g_str_has_prefix (rest, SNAP_STATE_TEXT_SUFFIX ".")))
    return NULL;
  return g_steal_pointer (&id);
}

/* Notes are part of their document as long as that is there. */
static gboolean
is_needed (SnapState *state, const char *part, const char *id, const char *name)
{
  g_autofree char *document =
      snap_state_build_path (state, part, id, SNAP_STATE_TEXT_SUFFIX);

  return g_str_has_suffix (name, SNAP_STATE_NOTES_SUFFIX)
         && access (document, F_OK) == 0;
}

/* All are made by who has the lock: who gets it knows that they are dead. */
static void
remove_leftover (SnapState *state, const char *part, const char *id,
                 const char *name)
{
  g_autofree char *path = snap_state_build_path (state, part, name, "");
  g_autofree char *lock_path =
      snap_state_build_path (state, part, id, SNAP_STATE_LOCK_SUFFIX);
  snap_autofd int fd =
      snap_lock_file_take (lock_path, SNAP_LOCK_EXCLUSIVE, NULL);

  if (fd < 0 || is_needed (state, part, id, name))
    return;
  unlink (path);
  unlink (lock_path);
}

void
snap_state_sweep_part (SnapState *state, const char *part)
{
  g_autoptr (GDir) dir = NULL;
  const char *name;

  if (!snap_state_open_part (state, part, &dir, NULL))
    return;
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *id = id_of_leftover (name);

    if (id != NULL)
      remove_leftover (state, part, id, name);
  }
}
