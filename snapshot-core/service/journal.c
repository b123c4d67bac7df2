/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: one file an entry, replaced atomically, and beside it a lock
 * file.  The lock cannot be on the entry itself, because a replaced file is
 * another file.
 */
#include "config.h"

#include "snapshot-core/service/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"
#include "snapshot-core/service/state-text.h"

#define PART "journal"

/* A mapping of them has to be whole. */
#define NOTES_LENGTH 4096

struct _SnapJournal {
  char *set_id;
  char *path;
  char *lock_path;
  char *notes_path;
  int lock_fd; /* the entry is ours while it is open */
};

char *
snap_journal_path (SnapState *state, const char *set_id)
{
  return snap_state_build_path (state, PART, set_id, SNAP_STATE_TEXT_SUFFIX);
}

const char *
snap_journal_set_id (SnapJournal *self)
{
  return self->set_id;
}

int
snap_journal_lock_fd (SnapJournal *self)
{
  return self->lock_fd;
}

void
snap_journal_abandon (SnapJournal *self)
{
  if (self == NULL)
    return;
  snap_fd_clear (&self->lock_fd);
  g_free (self->set_id);
  g_free (self->path);
  g_free (self->lock_path);
  g_free (self->notes_path);
  g_free (self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapJournal, snap_journal_abandon)

/* Lock the entry of @set_id, whether it exists or not. */
static SnapJournal *
lock_entry (SnapState *state, const char *set_id, GError **error)
{
  g_autoptr (SnapJournal) self = g_new0 (SnapJournal, 1);

  self->set_id = g_strdup (set_id);
  self->path = snap_journal_path (state, set_id);
  self->lock_path =
      snap_state_build_path (state, PART, set_id, SNAP_STATE_LOCK_SUFFIX);
  self->notes_path =
      snap_state_build_path (state, PART, set_id, SNAP_STATE_NOTES_SUFFIX);
  self->lock_fd =
      snap_lock_file_take (self->lock_path, SNAP_LOCK_EXCLUSIVE, error);
  return self->lock_fd >= 0 ? g_steal_pointer (&self) : NULL;
}

/* A sweep may get the lock of a file that we have just made, for a moment. */
static SnapJournal *
lock_new_entry (SnapState *state, const char *set_id, GError **error)
{
  for (int tries = 0; tries < 10; tries++) {
    g_autoptr (GError) reason = NULL;
    SnapJournal *self = lock_entry (state, set_id, &reason);

    if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)) {
      g_usleep (10000);
      continue;
    }
    if (self == NULL)
      g_propagate_error (error, g_steal_pointer (&reason));
    return self;
  }
  return lock_entry (state, set_id, error);
}

SnapJournal *
snap_journal_begin (SnapState *state, const char *set_id, const char *text,
                    GError **error)
{
  g_autoptr (SnapJournal) self = NULL;

  if (!snap_set_id_is_valid (set_id)) {
    snap_error_set (error, SNAP_ERROR_USAGE, "%s: not the id of a set", set_id);
    return NULL;
  }
  if (!snap_state_create (state, error))
    return NULL;
  self = lock_new_entry (state, set_id, error);
  if (self == NULL)
    return NULL;

  /* Also when it fails after the file took its place, nobody must find it. */
  if (!snap_file_replace (self->path, text, error)) {
    snap_file_remove (self->path, NULL);
    unlink (self->lock_path);
    return NULL;
  }
  return g_steal_pointer (&self);
}

gboolean
snap_journal_update (SnapJournal *self, const char *text, GError **error)
{
  return snap_file_replace (self->path, text, error);
}

gboolean
snap_journal_finish (SnapJournal *self, GError **error)
{
  gboolean removed = snap_file_remove (self->path, error);

  if (removed) {
    unlink (self->notes_path);
    unlink (self->lock_path);
  }
  snap_journal_abandon (self);
  return removed;
}

/* ---- notes ---- */

/* The machine's end also ends what they tell of: they need no fsync. */
int
snap_journal_open_notes (SnapJournal *self, GError **error)
{
  snap_autofd int fd =
      open (self->notes_path,
            O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  int failure;

  if (fd < 0) {
    snap_error_set_errno (error, errno, "%s", self->notes_path);
    return -1;
  }
  failure = posix_fallocate (fd, 0, NOTES_LENGTH);
  if (failure == 0)
    return snap_fd_steal (&fd);
  snap_error_set_errno (error, failure, "%s", self->notes_path);
  return -1;
}

int
snap_journal_read_notes (SnapJournal *self, GError **error)
{
  int fd = open (self->notes_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

  if (fd < 0 && errno != ENOENT)
    snap_error_set_errno (error, errno, "%s", self->notes_path);
  return fd;
}

/* ---- finding entries ---- */

/* The next valid id of an entry in @dir; the caller frees. */
static char *
read_id (GDir *dir)
{
  const char *name;

  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *id = g_strdup (name);

    if (g_str_has_suffix (id, SNAP_STATE_TEXT_SUFFIX)) {
      id[strlen (id) - strlen (SNAP_STATE_TEXT_SUFFIX)] = '\0';
      if (snap_set_id_is_valid (id))
        return g_steal_pointer (&id);
    }
  }
  return NULL;
}

GHashTable *
snap_journal_list (SnapState *state, GError **error)
{
  g_autoptr (GHashTable) ids =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GDir) dir = NULL;
  char *id;

  if (!snap_state_open_part (state, PART, &dir, error))
    return NULL;
  while (dir != NULL && (id = read_id (dir)) != NULL)
    g_hash_table_add (ids, id);
  return g_steal_pointer (&ids);
}

char *
snap_journal_peek (SnapState *state, const char *set_id, GError **error)
{
  g_autofree char *path = snap_journal_path (state, set_id);

  return snap_state_read_text (path, error);
}

/*
 * Take over the entry @set_id if nobody has it.  *journal stays NULL if
 * somebody has, or if it was finished since it was listed.
 */
static gboolean
adopt_entry (SnapState *state, const char *set_id, SnapJournal **journal,
             char **text, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (SnapJournal) self = lock_entry (state, set_id, &reason);

  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY))
    return TRUE;
  if (self != NULL)
    *text = snap_journal_peek (state, set_id, &reason);
  if (reason != NULL) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  if (*text != NULL)
    *journal = g_steal_pointer (&self);
  else if (self != NULL)
    unlink (self->lock_path);
  return TRUE;
}

gboolean
snap_journal_next_orphan (SnapState *state, GHashTable *skip,
                          SnapJournal **journal, char **text, GError **error)
{
  g_autoptr (GHashTable) ids = snap_journal_list (state, error);
  GHashTableIter iter;
  gpointer id;

  *journal = NULL;
  *text = NULL;
  if (ids == NULL)
    return FALSE;
  g_hash_table_iter_init (&iter, ids);
  while (*journal == NULL && g_hash_table_iter_next (&iter, &id, NULL)) {
    if (g_hash_table_contains (skip, id))
      continue;
    g_hash_table_add (skip, g_strdup (id));
    if (!adopt_entry (state, id, journal, text, error))
      return FALSE;
  }
  return TRUE;
}
