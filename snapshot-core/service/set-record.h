/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to sets: what a volume or a point becomes in a manifest or journal
 * entry, and the manifest's end when its last point is gone.
 */
#ifndef SNAP_SERVICE_SET_RECORD_H
#define SNAP_SERVICE_SET_RECORD_H

#include "snapshot-core/format/manifest.h"
#include "snapshot-core/service/state.h"

/* Add @volume; the caller may fill in more.  The member is borrowed. */
SnapManifestMember *snap_set_record_add (SnapManifest *document,
                                         const SnapVolume *volume);

/* Add @point of @volume, for a deletion. */
void snap_set_record_add_point (SnapManifest *document,
                                const SnapVolume *volume,
                                const SnapPoint *point);

/*
 * Take the volume of a deleted point off the manifest of its set, and the
 * manifest away when it was the last.  A manifest that is missing already, or
 * cannot be understood, is left as it is.  Errors: IO.
 */
gboolean snap_set_record_forget (SnapState *state, SnapManifestMember *deleted,
                                 GError **error);

/* The snapshot of @points with this identity, borrowed, or NULL. */
SnapPoint *snap_set_record_find (const GPtrArray *points, const char *id);

/* Give an error the code PARTIAL and say who will do the rest. */
void snap_set_record_make_partial (GError *reason);

#endif
