/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that share their blocks: cloning, and what must be known of two files
 * before equal places can mean equal data.
 */
#ifndef SNAP_OS_REFLINK_H
#define SNAP_OS_REFLINK_H

#include <glib.h>

typedef enum {
  SNAP_FS_OTHER,
  SNAP_FS_BTRFS,
  SNAP_FS_REFLINK, /* known to share blocks between files: XFS, bcachefs, … */
} SnapFsKind;

/* The kind of file system that a descriptor's file lies on. */
SnapFsKind snap_fs_kind (int fd);

/*
 * Make @to, an open empty file, a clone of @from: all of its data and its
 * size, at one instant.
 *
 * The errors do not name the files: UNSUPPORTED (the file system cannot),
 * NO_SPACE, IO.
 */
gboolean snap_reflink_clone (int to, int from, GError **error);

/* Whether files of @directory_fd's file system can be cloned, tried out on
   files without names.  UNSUPPORTED if not; the error does not name it. */
gboolean snap_reflink_check (int directory_fd, GError **error);

/* An open file without a name beside others of @directory_fd: gone with its
   last descriptor.  -1 on error, which does not name it. */
int snap_reflink_open_unnamed (int directory_fd, GError **error);

/* Tells one use of an inode number from the next; 0 where the file system
   does not say. */
guint32 snap_inode_generation (int fd);

/* Whether the data lies on the realtime device of an XFS file system, whose
   addresses mean other places. */
gboolean snap_is_realtime (int fd);

#endif
