/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volumes and the points on them, as the front ends see them.
 */
#ifndef SNAP_SERVICE_VOLUME_H
#define SNAP_SERVICE_VOLUME_H

#include "snapshot-core/service/reference.h"
#include "snapshot-core/service/state.h"

/*
 * Open the volume of a reference (its points are not looked at).  @options may
 * be NULL.  USAGE for a snapshot_dir that snap_snapshot_dir_check() refuses.
 */
SnapVolume *snap_volume_open (SnapRegistry *registry,
                              const SnapReference *reference,
                              const SnapOpenOptions *options, GError **error);
SnapVolume *snap_volume_ref (SnapVolume *self);
void snap_volume_unref (SnapVolume *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapVolume, snap_volume_unref)

/* Check a name for the directory in which snapshots are kept beside the data:
   one component of a path.  USAGE with the reason; NULL is fine. */
gboolean snap_snapshot_dir_check (const char *name, GError **error);

/*
 * The snapshots of a volume, oldest first, without those of unfinished sets
 * and those whose deletion is decided.  Elements are SnapPoint, freed by the
 * array.  Changes nothing; without a state directory there is no journal.
 */
GPtrArray *snap_volume_list (SnapVolume *self, SnapState *state,
                             GError **error);

/*
 * Find one point by what a user calls it: a reserved word (live, newest,
 * backing, empty), a snapshot's name, its identity, or, in digits, what
 * stands before the '/' of its identity: the storage's short id.
 *
 * Errors: NOT_FOUND, USAGE (several snapshots have this name: the message
 * lists their ids).
 */
SnapPoint *snap_volume_find_point (SnapVolume *self, SnapState *state,
                                   const char *name, GError **error);

/*
 * The word by which snap_volume_find_point() finds exactly @point among
 * @snapshots: its name, or its identity where the name would mislead.
 * Borrowed from the point.
 */
const char *snap_volume_point_word (const GPtrArray *snapshots,
                                    const SnapPoint *point);

/*
 * Have the storages of @volumes looked at once for what is asked of them next,
 * where their drivers can; ended by looking away, which every change and every
 * run of a diff must come after.  For the one thread that has the volumes.
 */
gboolean snap_volumes_look (SnapVolume **volumes, gsize n_volumes,
                            GError **error);
void snap_volumes_look_away (SnapVolume **volumes, gsize n_volumes);

/* Whether two open volumes are one and the same. */
gboolean snap_volume_equal (const SnapVolume *a, const SnapVolume *b);

/* The reference of a point: "qcow2:/path@name"; the caller frees. */
char *snap_volume_format_reference (const SnapVolume *self,
                                    const char *point_name);

#endif
