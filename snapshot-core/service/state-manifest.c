/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manifests of sets.  Two deletions on two volumes of one set change the
 * same manifest: whoever writes it has its lock, from reading to renaming.
 */
#include "config.h"

#include "snapshot-core/service/state.h"

#include <unistd.h>

#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"
#include "snapshot-core/service/state-text.h"

#define PART "sets"

/* Writers are done within a few writes; one that is stopped must not stop us
   for ever. */
#define LOCK_WAIT_MS 10000
#define LOCK_LOOK_MS 5

typedef struct {
  char *path;
  int fd; /* the manifest is ours while it is open */
} Lock;

/* Whoever waits for the lock sees that its file has gone, and makes another
   one. */
static void
lock_clear (Lock *self)
{
  if (self->fd >= 0)
    unlink (self->path);
  snap_fd_clear (&self->fd);
  g_free (self->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Lock, lock_clear)

/* Waits while somebody has it, for a while. */
static gboolean
lock_manifest (Lock *self, SnapState *state, const char *set_id, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (LOCK_WAIT_MS);

  self->path =
      snap_state_build_path (state, PART, set_id, SNAP_STATE_LOCK_SUFFIX);
  for (;;) {
    GError *reason = NULL;

    self->fd = snap_lock_file_take (self->path, SNAP_LOCK_EXCLUSIVE, &reason);
    if (self->fd >= 0)
      return TRUE;
    if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)
        || snap_deadline_left_ms (deadline) == 0) {
      g_propagate_error (error, reason);
      return FALSE;
    }
    g_error_free (reason);
    g_usleep (LOCK_LOOK_MS * 1000);
  }
}

static char *
manifest_path (SnapState *state, const char *set_id)
{
  return snap_state_build_path (state, PART, set_id, SNAP_STATE_TEXT_SUFFIX);
}

gboolean
snap_manifest_save (SnapState *state, const char *set_id, const char *text,
                    GError **error)
{
  g_autofree char *path = manifest_path (state, set_id);
  g_auto (Lock) lock = { .fd = -1 };

  if (!snap_set_id_is_valid (set_id))
    return snap_error_set (error, SNAP_ERROR_USAGE, "%s: not the id of a set",
                           set_id);
  return snap_state_create (state, error)
         && lock_manifest (&lock, state, set_id, error)
         && snap_file_replace (path, text, error);
}

char *
snap_manifest_load (SnapState *state, const char *set_id, GError **error)
{
  g_autofree char *path = manifest_path (state, set_id);

  return snap_set_id_is_valid (set_id) ? snap_state_read_text (path, error)
                                       : NULL;
}

gboolean
snap_manifest_remove (SnapState *state, const char *set_id, GError **error)
{
  g_autofree char *path = manifest_path (state, set_id);

  return !snap_set_id_is_valid (set_id) || snap_file_remove (path, error);
}

/* What @edit makes of the text, put in its place. */
static gboolean
apply (const char *path, const char *text, SnapManifestEditor edit,
       gpointer data, GError **error)
{
  g_autofree char *edited = NULL;

  switch (edit (text, data, &edited)) {
  case SNAP_MANIFEST_KEEP:
    return TRUE;
  case SNAP_MANIFEST_REPLACE:
    return snap_file_replace (path, edited, error);
  case SNAP_MANIFEST_REMOVE:
    return snap_file_remove (path, error);
  default:
    g_return_val_if_reached (FALSE);
  }
}

/* The text, unless there is nothing to change: *text NULL.  A state directory
   without the manifest may be without a place for its lock too. */
static gboolean
load_locked (Lock *lock, SnapState *state, const char *set_id, char **text,
             GError **error)
{
  g_autofree char *path = manifest_path (state, set_id);
  g_autoptr (GError) reason = NULL;

  *text = NULL;
  if (!snap_set_id_is_valid (set_id) || !g_file_test (path, G_FILE_TEST_EXISTS))
    return TRUE;
  if (!lock_manifest (lock, state, set_id, error))
    return FALSE;
  *text = snap_state_read_text (path, &reason);
  if (reason == NULL)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&reason));
  return FALSE;
}

gboolean
snap_manifest_edit (SnapState *state, const char *set_id,
                    SnapManifestEditor edit, gpointer data, GError **error)
{
  g_autofree char *path = manifest_path (state, set_id);
  g_autofree char *text = NULL;
  g_auto (Lock) lock = { .fd = -1 };

  if (!load_locked (&lock, state, set_id, &text, error))
    return FALSE;
  return text == NULL || apply (path, text, edit, data, error);
}
