/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the state directory: its documents and the locks beside them.
 * In a part of it ("journal", "sets") lie
 *
 *   ID.json          a document
 *   ID.json.XXXXXX   what was to become one
 *   ID.lock          locked by who writes it
 *   ID.notes         what goes with a document of the journal
 */
#ifndef SNAP_SERVICE_STATE_TEXT_H
#define SNAP_SERVICE_STATE_TEXT_H

#include "snapshot-core/service/state.h"

#define SNAP_STATE_TEXT_SUFFIX ".json"
#define SNAP_STATE_LOCK_SUFFIX ".lock"
#define SNAP_STATE_NOTES_SUFFIX ".notes"

/* The text of a file, which the caller frees; NULL without an error when
   there is no such file or directory. */
char *snap_state_read_text (const char *path, GError **error);

/* The path of ID and a suffix in @part; the caller frees. */
char *snap_state_build_path (SnapState *state, const char *part, const char *id,
                             const char *suffix);

/* Open @part to list it; *dir stays NULL when it is not there. */
gboolean snap_state_open_part (SnapState *state, const char *part, GDir **dir,
                               GError **error);

/*
 * Remove the lock files and temporary files in @part of writers that died.
 * They mean nothing; what cannot be removed stays.
 */
void snap_state_sweep_part (SnapState *state, const char *part);

#endif
