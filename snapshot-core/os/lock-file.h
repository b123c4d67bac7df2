/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lock files: a lock lives as long as its holder's descriptor, so a killed
 * holder never leaves one behind; only the empty file may stay.
 *
 * OFD locks, so that two holders in one process exclude each other too.
 */
#ifndef SNAP_OS_LOCK_FILE_H
#define SNAP_OS_LOCK_FILE_H

#include <glib.h>

typedef enum {
  SNAP_LOCK_SHARED,
  SNAP_LOCK_EXCLUSIVE,
} SnapLockMode;

/*
 * Lock @path, creating it (mode 0600) if needed, without waiting.
 *
 * Returns the descriptor that holds the lock; close it to let go.  When it
 * returns, @path still names the locked file.  -1 on error.
 *
 * Errors: BUSY (somebody holds it against @mode), NOT_FOUND (its directory),
 * IO.
 */
int snap_lock_file_take (const char *path, SnapLockMode mode, GError **error);

/*
 * Remove @path, which @fd has locked, unless others have locked it too; close
 * @fd right after that.  Who asks meanwhile for a lock that goes with that of
 * @fd is not refused, but gets it on a file made anew.
 */
void snap_lock_file_remove (const char *path, int fd);

/* Remove the file if nobody has it locked: what is left of those who died. */
void snap_lock_file_sweep (const char *path);

/*
 * Lock a descriptor of an existing file, without waiting.  BUSY as above; the
 * error does not name the file.
 */
gboolean snap_lock_fd (int fd, SnapLockMode mode, GError **error);

/*
 * Whether a lock of @path in @mode would be refused now: *busy.  Takes no lock
 * and makes no file; a file that is missing is not locked.  Errors: IO.
 */
gboolean snap_lock_file_probe (const char *path, SnapLockMode mode,
                               gboolean *busy, GError **error);

#endif
