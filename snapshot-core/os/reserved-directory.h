/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directory, ".nbdsnap" unless a user wants another name, in which drivers
 * keep snapshots beside the data.
 *
 * It carries a mark of ours, an extended attribute.  One of the same name
 * without it belongs to somebody else and is refused: never used, never
 * emptied.  A symbolic link in its place is not followed.
 */
#ifndef SNAP_OS_RESERVED_DIRECTORY_H
#define SNAP_OS_RESERVED_DIRECTORY_H

#include <glib.h>

#define SNAP_RESERVED_NAME ".nbdsnap"

/* Where it is, or would be.  All borrowed. */
typedef struct {
  int parent_fd;
  const char *where; /* the parent's path, for messages */
  const char *name;  /* of the directory in it */
} SnapReserved;

/* What is wrong with a name for it, or NULL: it must be one component of a
   path, and not the name of one that is half made. */
const char *snap_reserved_name_fault (const char *name);

/*
 * Open the reserved directory.  *fd is -1 where there is none.
 *
 * Errors: UNSUPPORTED (somebody else's), IO.
 */
gboolean snap_reserved_open (const SnapReserved *self, int *fd, GError **error);

/*
 * Open it, and make it first if there is none: under another name until it is
 * marked.  -1 on error.
 *
 * Errors: as above, BUSY, NO_SPACE.
 */
int snap_reserved_make (const SnapReserved *self, GError **error);

/* Remove what somebody who was killed may have left half-made, and the
   directory itself if it is ours and empty. */
gboolean snap_reserved_discard (const SnapReserved *self, GError **error);

/*
 * Be the only one who adds to or removes from the directory, which is open as
 * @fd, waiting for at most @timeout_ms.  Returns a descriptor that holds the
 * lock until it is closed; -1 on error.
 *
 * Errors: BUSY, NOT_FOUND (the directory was removed meanwhile), IO.
 */
int snap_reserved_lock (const SnapReserved *self, int fd, guint timeout_ms,
                        GError **error);

/* Every entry of an open directory but "." and "..", in no order; strings
   freed by the array. */
GPtrArray *snap_directory_list (int fd, const char *where, GError **error);

#endif
