/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * btrfs subvolumes and their snapshots: the one place that sees libbtrfsutil.
 */
#ifndef SNAP_OS_BTRFS_SUBVOLUME_H
#define SNAP_OS_BTRFS_SUBVOLUME_H

#include <glib.h>

/* The inode number of the top directory of every subvolume. */
#define SNAP_BTRFS_TOP_INODE 256

#define SNAP_BTRFS_UUID_LENGTH 16

typedef struct {
  guint64 id; /* on this file system, never used again */
  guint8 uuid[SNAP_BTRFS_UUID_LENGTH];
  guint8 parent_uuid[SNAP_BTRFS_UUID_LENGTH]; /* what it is a snapshot of */
  guint64 generation; /* the transaction that wrote its root last */
  guint64 created;    /* … that made it */
  guint64 changed;    /* … in which anything in it was changed last */
  gint64 time_us;     /* of its creation, since the epoch */
  gboolean read_only;
} SnapBtrfsSubvolume;

/* Describe the subvolume that an open file or directory lies in.  The error
   does not name it. */
gboolean snap_btrfs_subvolume_read (int fd, SnapBtrfsSubvolume *subvolume,
                                    GError **error);

/* Whether anybody has changed a snapshot since it was made.  Moving its data
   elsewhere on the disk changes nothing. */
gboolean snap_btrfs_subvolume_was_changed (const SnapBtrfsSubvolume *self);

/*
 * The generation of subvolume @id of the file system that @fd lies on, also
 * of one that was deleted while it is open.  Needs CAP_SYS_ADMIN.
 */
gboolean snap_btrfs_subvolume_generation (int fd, guint64 id,
                                          guint64 *generation, GError **error);

/* A UUID as text; the caller frees. */
char *snap_btrfs_uuid_format (const guint8 *uuid);

/*
 * Make @name in @directory_fd a read-only snapshot of the subvolume whose
 * top is @top_fd.  On disk when it returns.
 *
 * The errors do not name them: EXISTS, NO_SPACE, UNSUPPORTED, BUSY, IO.
 */
gboolean snap_btrfs_snapshot (int top_fd, int directory_fd, const char *name,
                              GError **error);

/* What a deletion that was killed may leave in the directory: a subvolume of
   this and hex digits, perhaps writable. */
#define SNAP_BTRFS_GONE_PREFIX ".gone-"

/* Delete the subvolume @name in @directory_fd.  Whoever has a file in it open
   can read on.  NOT_FOUND if there is none, UNSUPPORTED if we may not. */
gboolean snap_btrfs_delete (int directory_fd, const char *name, GError **error);

/* Put everything that was done so far on the disk. */
gboolean snap_btrfs_sync (int fd, GError **error);

#endif
