/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers over an open file or block device.
 */
#ifndef SNAP_OS_FILE_READER_H
#define SNAP_OS_FILE_READER_H

#include "snapshot-core/base/reader.h"

typedef enum {
  SNAP_FILE_BUFFERED,
  SNAP_FILE_DIRECT, /* O_DIRECT, for metadata that the kernel changes behind
                       the page cache; any offset and length may be asked */
} SnapFileMode;

/*
 * A reader over @fd, which it takes over; on error @fd is closed too.
 *
 * The size is that of the file or device now.  With SNAP_FILE_DIRECT the
 * descriptor must have been opened with O_DIRECT.  @name is for messages.
 *
 * Errors: UNSUPPORTED (neither a file nor a block device), IO.
 */
SnapReader *snap_file_reader_take (int fd, SnapFileMode mode, const char *name,
                                   GError **error);

/* Borrow the descriptor. */
int snap_file_reader_fd (SnapReader *reader);

/*
 * Open the file once more, read-only, by inode, for another program to inherit;
 * the caller closes.
 *
 * Not our own descriptor: a lock belongs to the open file, so that a child that
 * inherited it would go on holding it after us.  -1 on error: those of open(2).
 */
int snap_file_reader_reopen (SnapReader *reader, GError **error);

/* The size in bytes of an open file or block device.  UNSUPPORTED if it is
   neither; the error does not name it. */
gboolean snap_file_size (int fd, guint64 *size, GError **error);

#endif
