/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state directory: manifests of sets, the journal of unfinished ones, and
 * the lock files of holds.
 *
 *   sets/SET_ID.json      a finished set
 *   sets/SET_ID.lock      locked while somebody writes it
 *   journal/SET_ID.json   work in progress
 *   journal/SET_ID.lock   locked while its maker lives
 *   journal/SET_ID.notes  what is being done to its guest, right now
 *   holds/DIGEST          locked while somebody uses a point
 *
 * The storage is the truth about snapshots; this directory only says which
 * of them are one set, which work is unfinished, and who uses what.
 */
#ifndef SNAP_SERVICE_STATE_H
#define SNAP_SERVICE_STATE_H

#include "snapshot-core/drivers/driver.h"

typedef struct _SnapState SnapState;

/*
 * Use @directory, or the default when NULL: /var/lib/nbdsnap for root,
 * otherwise $XDG_STATE_HOME/nbdsnap.  Creates nothing yet.
 */
SnapState *snap_state_new (const char *directory);
void snap_state_free (SnapState *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapState, snap_state_free)

const char *snap_state_directory (SnapState *self);

/* Make the directory (mode 0700) and its parts, durably. */
gboolean snap_state_create (SnapState *self, GError **error);

/*
 * Remove the lock files and temporary files of writers that died before their
 * document was there, or after it was gone.  They mean nothing; what cannot be
 * removed stays.
 */
void snap_state_sweep (SnapState *self);

/*
 * Ids of sets and of journal entries: 16 hex digits.  One that comes from a
 * storage is checked before it becomes a file name.
 */
char *snap_set_id_new (void); /* random; the caller frees */
gboolean snap_set_id_is_valid (const char *set_id);

/* ---- the journal ---- */

typedef struct _SnapJournal SnapJournal;

/*
 * Make and lock an entry for @set_id holding @text, fsynced, with its
 * directory.  It stays until snap_journal_finish(); a process that dies
 * leaves it, unlocked.
 */
SnapJournal *snap_journal_begin (SnapState *state, const char *set_id,
                                 const char *text, GError **error);

/* Replace the text, durably and atomically; the lock stays. */
gboolean snap_journal_update (SnapJournal *self, const char *text,
                              GError **error);

/* Remove the entry, durably, and free @self. */
gboolean snap_journal_finish (SnapJournal *self, GError **error);

/* Let go of the entry, leaving it for recovery, and free @self. */
void snap_journal_abandon (SnapJournal *self);

/*
 * Lock the next entry whose maker is gone and return it with its text;
 * *journal NULL when there are no more.  @skip holds ids (as a set) not to be
 * looked at again; the entry's id is added to it.
 */
gboolean snap_journal_next_orphan (SnapState *state, GHashTable *skip,
                                   SnapJournal **journal, char **text,
                                   GError **error);

const char *snap_journal_set_id (SnapJournal *self);

/* The descriptor whose lock makes the entry ours. */
int snap_journal_lock_fd (SnapJournal *self);

/*
 * The entry's notes: a small file that is written without waiting, for what
 * must be known when everybody was killed.  Open makes it new, as long as a
 * page and all zeroes; read gives the descriptor of one that a dead maker
 * left, or -1 without an error where there is none.  It goes with the entry.
 */
int snap_journal_open_notes (SnapJournal *self, GError **error);
int snap_journal_read_notes (SnapJournal *self, GError **error);

/* The ids of all entries, whether their makers live or not: their points are
   not to be listed.  An element is freed by the table. */
GHashTable *snap_journal_list (SnapState *state, GError **error);

/* Read the text of an entry without locking it; the caller frees.  NULL
   without an error when the entry is gone. */
char *snap_journal_peek (SnapState *state, const char *set_id, GError **error);

/* The path of an entry, for messages; the caller frees. */
char *snap_journal_path (SnapState *state, const char *set_id);

/* ---- manifests ---- */

/*
 * An id that is none is refused by save (USAGE) and names no manifest for the
 * others.  Save and edit wait for others that write the same manifest.
 *
 * Errors: BUSY (one of them does not end), IO.
 */
gboolean snap_manifest_save (SnapState *state, const char *set_id,
                             const char *text, GError **error);
/* NULL without an error when there is none. */
char *snap_manifest_load (SnapState *state, const char *set_id, GError **error);
gboolean snap_manifest_remove (SnapState *state, const char *set_id,
                               GError **error);

typedef enum {
  SNAP_MANIFEST_KEEP,
  SNAP_MANIFEST_REPLACE, /* by *edited */
  SNAP_MANIFEST_REMOVE,
} SnapManifestEdit;

typedef SnapManifestEdit (*SnapManifestEditor) (const char *text, gpointer data,
                                                char **edited);

/* Let @edit decide about the manifest, which nobody else changes meanwhile.
   Nothing happens if there is none. */
gboolean snap_manifest_edit (SnapState *state, const char *set_id,
                             SnapManifestEditor edit, gpointer data,
                             GError **error);

#endif
