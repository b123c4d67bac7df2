/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many reads of one descriptor under way at once, by the kernel's asynchronous
 * I/O.  Of use with O_DIRECT only: other reads are done one by one.
 */
#ifndef SNAP_OS_ASYNC_READ_H
#define SNAP_OS_ASYNC_READ_H

#include "snapshot-core/base/reader.h"

typedef struct _SnapAsyncRead SnapAsyncRead;

/* Have one, whoever has it; NULL where the kernel has none left or knows of
   none: read otherwise. */
SnapAsyncRead *snap_async_read_take (void);

/* Others may have it; it is kept, because the kernel takes longer to end one
   than to read thousands of blocks. */
void snap_async_read_give_back (SnapAsyncRead *self);

/*
 * Read all @parts, as snap_reader_read_many() does.  Their offsets, lengths and buffers are aligned as O_DIRECT
 * wants them.
 *
 * Threads: one at a time.  Errors: IO (a read that ends early is one), what
 * @done returns; then nothing is under way any more.
 */
gboolean snap_async_read_run (SnapAsyncRead *self, int fd,
                              const SnapReadPart *parts, guint n,
                              SnapReadFunc done, gpointer user_data,
                              GError **error);

#endif
