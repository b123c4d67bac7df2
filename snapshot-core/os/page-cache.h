/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leaving the page cache as it was found.
 *
 * What of a file was in memory is noted before the first read that may go to
 * the disk, by regions; after each such read, what was not in memory then is
 * dropped.  Only for files whose pages serve nobody who would miss them.
 *
 * Any thread may call this; reads may overlap.
 */
#ifndef SNAP_OS_PAGE_CACHE_H
#define SNAP_OS_PAGE_CACHE_H

#include <glib.h>

typedef struct _SnapPageCache SnapPageCache;

/* For the open file @fd, which is borrowed and of @size bytes. */
SnapPageCache *snap_page_cache_new (int fd, guint64 size);
void snap_page_cache_free (SnapPageCache *self);

/* Before a read of a range inside the size: note what is in memory, unless
   that was done. */
void snap_page_cache_note (SnapPageCache *self, guint64 offset, gsize length);

/* Whether all of a noted range was in memory, as far as that is known by
   whole regions: then there is nothing to be read. */
gboolean snap_page_cache_had (SnapPageCache *self, guint64 offset,
                              gsize length);

/* Begin to read a noted range; never fails, and waits for no read.  Before one
   that keeps its pages, nothing needs to be noted. */
void snap_page_cache_prefetch (SnapPageCache *self, guint64 offset,
                               gsize length);

/* After it: drop what was not there, in whole pages. */
void snap_page_cache_drop (SnapPageCache *self, guint64 offset, gsize length);

#endif
