/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the btrfs driver: a file in a subvolume; its snapshots are
 * read-only snapshots of that subvolume.
 *
 *   driver.c    the ops: open, list, read
 *   volume.c    which subvolume a file lies in
 *   snapshot.c  the snapshots of a subvolume and whose they are
 *   create.c    creation and deletion
 *   live.c      the file as it is now, standing still
 *   tree-map.c  the extents of a file, from the file system's tree
 *   compare.c   diffs
 *
 * Snapshots lie in the reserved directory in the top of the subvolume itself:
 * the one place that is there whichever way it is mounted.
 */
#ifndef SNAP_DRIVERS_BTRFS_BTRFS_H
#define SNAP_DRIVERS_BTRFS_BTRFS_H

#include "snapshot-core/drivers/driver.h"
#include "snapshot-core/format/btrfs-map.h"
#include "snapshot-core/os/btrfs-subvolume.h"
#include "snapshot-core/os/reserved-directory.h"

/* How long to wait for others who work in the reserved directory. */
#define BTRFS_LOCK_TIMEOUT_MS 30000

typedef struct {
  SnapVolume parent;
  char *top;    /* absolute path of the subvolume's top directory */
  char *path;   /* of the file, below it */
  char *member; /* short for the path: see btrfs_member_name() */
  char *reserved_name;
  SnapReserved reserved; /* that directory in the top */
  int top_fd;
  int fd; /* of the file as it is now, -1 where only snapshots are left */
  SnapBtrfsSubvolume subvolume; /* as it was when the volume was opened */
} BtrfsVolume;

/* ---- volume.c ---- */

/* Fill in all but the driver from the location.  There need be no file, but
   what is there must be one.  UNSUPPORTED for what is not a plain file on
   btrfs whose subvolume's top can be reached. */
gboolean btrfs_volume_locate (BtrfsVolume *self, GError **error);

/* ---- snapshot.c ---- */

/* Open the reserved directory; *fd is -1 where there is none. */
gboolean btrfs_reserved_open (const BtrfsVolume *volume, int *fd,
                              GError **error);

/* Make it if there is none, and lock it: *reserved_fd, and the lock is
   returned; -1 on error. */
int btrfs_reserved_enter (const BtrfsVolume *volume, int *reserved_fd,
                          GError **error);

/*
 * A snapshot of a subvolume holds all its files, but was made for some of
 * them.  For each of those there is an empty file beside it, its member file,
 * "NATIVE.MEMBER".  With the last one the snapshot goes.
 */
char *btrfs_member_new (const char *path);
char *btrfs_member_name (const char *native, const char *member);

/* The part of a member file's name that is the snapshot's, or NULL if it is
   something else; the caller frees. */
char *btrfs_member_parse (const char *name);

/*
 * Open @native in the reserved directory if it is a read-only snapshot of the
 * volume's subvolume, and describe it; -1 and errno otherwise.
 */
int btrfs_snapshot_open (const BtrfsVolume *volume, int reserved_fd,
                         const char *native, SnapBtrfsSubvolume *subvolume);

/* The same for one that may be written to, too. */
int btrfs_copy_open (const BtrfsVolume *volume, int reserved_fd,
                     const char *native, SnapBtrfsSubvolume *subvolume);

/* All points of the volume, oldest first. */
GPtrArray *btrfs_points (const BtrfsVolume *volume, GError **error);

/* One point, opened. */
typedef struct {
  int fd; /* of the file */
  SnapBtrfsSubvolume subvolume;
} BtrfsSide;

void btrfs_side_clear (BtrfsSide *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BtrfsSide, btrfs_side_clear)

/* Open the snapshot that a point is, by identity.  NOT_FOUND if it is there
   no more. */
gboolean btrfs_point_open (const BtrfsVolume *volume, const SnapPoint *point,
                           BtrfsSide *side, GError **error);

/* ---- live.c ---- */

/* Make a temporary snapshot, open the file in it, and delete it at once: it
   lives as long as it is open, whatever happens to us. */
gboolean btrfs_live_open (const BtrfsVolume *volume, BtrfsSide *side,
                          GError **error);

/* Remove what somebody who was killed has left: temporary snapshots, and
   member files without their snapshot.  Only under the directory's lock. */
gboolean btrfs_tidy (const BtrfsVolume *volume, int reserved_fd,
                     GError **error);

/* ---- create.c ---- */

SnapCut *btrfs_plan (SnapVolume *volume, const char *name, const char *set_id,
                     char **record, GError **error);
gboolean btrfs_prepare (SnapCut *cut, GError **error);
gboolean btrfs_cut (SnapCut **cuts, gsize n_cuts, GError **error);
gboolean btrfs_commit (SnapCut *cut, GError **error);
gboolean btrfs_abort (SnapCut *cut, GError **error);
void btrfs_free_cut (SnapCut *cut);
gboolean btrfs_cuts_at_once (SnapCut **cuts, gsize n_cuts);
gboolean btrfs_recover (const char *record, SnapRecover action, GError **error);
gboolean btrfs_remove (SnapVolume *volume, const SnapPoint *point,
                       GError **error);
gboolean btrfs_sweep (SnapVolume *volume, GError **error);

/* ---- tree-map.c ---- */

/* The map of an open file (borrowed); the caller frees with
   btrfs_tree_map_free().  One thread at a time. */
SnapBtrfsMap *btrfs_tree_map_new (int fd, guint64 inode_number);
void btrfs_tree_map_free (SnapBtrfsMap *map);

/* What the tree says about an open file itself. */
gboolean btrfs_read_inode (int fd, guint64 inode_number, SnapBtrfsInode *inode,
                           GError **error);

/* ---- compare.c ---- */

gboolean btrfs_comparable (const SnapDiffRequest *request, GError **error);
gboolean btrfs_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
                     SnapExtentFunc emit, gpointer user_data, GError **error);

#endif
