/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the reflink driver: snapshots of a file as clones that share its
 * blocks, on any file system that can (XFS above all).
 *
 *   driver.c  the ops: open, list, read
 *   shelf.c   where the clones of one file are kept, and what is known of each
 *   create.c  creation and deletion
 *   compare.c diffs
 *
 * The smallest driver; whoever wants to write another may begin here.
 */
#ifndef SNAP_DRIVERS_REFLINK_REFLINK_H
#define SNAP_DRIVERS_REFLINK_REFLINK_H

#include "snapshot-core/drivers/driver.h"
#include "snapshot-core/os/reserved-directory.h"

typedef struct {
  SnapVolume parent;
  char *directory; /* absolute, of the file */
  int directory_fd;
  char *reserved_name;
  SnapReserved reserved; /* that directory beside the file */
  int fd;         /* of the file as it is now, -1 where only clones are left */
  char *origin;   /* which file that is, see reflink_origin(); or NULL */
  gboolean force; /* clone also where it stalls writers for long */
  SnapWarnFunc warn;
  gpointer warn_data;
} ReflinkVolume;

/* ---- shelf.c ---- */

/*
 * The clones of DIRECTORY/FILE lie on its shelf, DIRECTORY/.nbdsnap/FILE, or
 * what else the reserved directory @at is called.  *fd is -1 where there is
 * none.  UNSUPPORTED if somebody else's directory has the reserved name.
 */
gboolean reflink_shelf_open (const SnapReserved *at, const char *file, int *fd,
                             GError **error);

/* The same, made if it is not there; -1 on error. */
int reflink_shelf_make (const ReflinkVolume *volume, GError **error);

/* Remove the shelf if it is empty, and all around it that was made for it. */
gboolean reflink_shelf_discard (const SnapReserved *at, const char *file,
                                GError **error);

/* What tells the file on @fd from all others, also from one that gets its
   inode number later; the caller frees. */
char *reflink_origin (int fd);

/* The origin of a clone, which it carries with it. */
gboolean reflink_clone_set_origin (int fd, const char *origin, GError **error);
char *reflink_clone_get_origin (int fd); /* NULL: it has none */

/* The point that a clone is, or NULL if @native is no file. */
SnapPoint *reflink_point_new (int shelf_fd, const char *native);

/* Open the clone that a point is, by identity; -1 on error.  NOT_FOUND if it
   is there no more. */
int reflink_point_open (const ReflinkVolume *volume, const SnapPoint *point,
                        GError **error);

/* Estimate for how long a clone of the file as it is now stalls its writers.
   Says so where that is long; too long is UNSUPPORTED unless forced. */
gboolean reflink_check_stall (const ReflinkVolume *volume, guint *expected_ms,
                              GError **error);

/* Clone it into a file without a name; -1 on error. */
int reflink_clone_live (const ReflinkVolume *volume, GError **error);

/* ---- create.c ---- */

SnapCut *reflink_plan (SnapVolume *volume, const char *name, const char *set_id,
                       char **record, GError **error);
gboolean reflink_prepare (SnapCut *cut, GError **error);
gboolean reflink_cut (SnapCut **cuts, gsize n_cuts, GError **error);
gboolean reflink_settle (SnapCut **cuts, gsize n_cuts, GError **error);
gboolean reflink_commit (SnapCut *cut, GError **error);
gboolean reflink_abort (SnapCut *cut, GError **error);
void reflink_free_cut (SnapCut *cut);
gboolean reflink_recover (const char *record, SnapRecover action,
                          GError **error);
gboolean reflink_remove (SnapVolume *volume, const SnapPoint *point,
                         GError **error);
gboolean reflink_sweep (SnapVolume *volume, GError **error);

/* ---- compare.c ---- */

gboolean reflink_comparable (const SnapDiffRequest *request, GError **error);
gboolean reflink_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
                       SnapExtentFunc emit, gpointer user_data, GError **error);

#endif
