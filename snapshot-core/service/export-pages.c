/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page cache below file ranges, which drivers do not see being read.
 */
#include "config.h"

#include <fcntl.h>

#include "snapshot-core/os/file-reader.h"
#include "snapshot-core/service/export-private.h"

/* How far ahead of what is used it is noted what is in the page cache, bytes:
   more than the kernel reads ahead.  It does so even if told not to where an
   earlier read has left its mark. */
#define NOTE_AHEAD (16 * 1024 * 1024)

/* The kernel keeps pages in groups of up to this many bytes, aligned to it, and
   drops whole groups only. */
#define TOGETHER (2 * 1024 * 1024)

/* Of the file that ranges of the image lie in; NULL if this is another one.
   The kernel is kept from reading ahead: pages that it brings in by itself are
   taken for somebody else's. */
static SnapPageCache *
pages_of (SnapExportPoint *point, int fd)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&point->lock);
  guint64 size;

  if (point->pages == NULL && snap_file_size (fd, &size, NULL)) {
    (void) posix_fadvise (fd, 0, 0, POSIX_FADV_RANDOM);
    point->pages = snap_page_cache_new (fd, size);
    point->pages_fd = fd;
    point->pages_size = size;
  }
  return point->pages_fd == fd ? point->pages : NULL;
}

void
snap_export_note (SnapExport *self, const SnapFileRange *range)
{
  SnapPageCache *noted = pages_of (self->point, range->fd);

  guint64 after = range->fd_offset + range->length;

  if (noted != NULL && after <= self->point->pages_size)
    snap_page_cache_note (
        noted, range->fd_offset,
        range->length + MIN (NOTE_AHEAD, self->point->pages_size - after));
}

/* What was in memory at first is not asked for: it is not worth the time. */
static void
prefetch_range (SnapExport *self, const SnapFileRange *range,
                SnapExportPages pages)
{
  SnapPageCache *cache = pages_of (self->point, range->fd);

  if (cache == NULL
      || range->fd_offset + range->length > self->point->pages_size)
    return;
  if (pages == SNAP_EXPORT_PAGES_TO_DROP)
    snap_export_note (self, range);
  if (pages == SNAP_EXPORT_PAGES_TO_KEEP
      || !snap_page_cache_had (cache, range->fd_offset, range->length))
    snap_page_cache_prefetch (cache, range->fd_offset, range->length);
}

void
snap_export_prefetch (SnapExport *self, guint64 offset, guint64 length,
                      SnapExportPages pages)
{
  guint64 size = self->image->size;
  guint64 left = offset < size ? MIN (length, size - offset) : 0;
  SnapFileRange range;

  while (snap_export_file_range (self, offset, left, &range)) {
    prefetch_range (self, &range, pages);
    offset += range.length;
    left -= range.length;
  }
}

void
snap_export_drop_range (SnapExport *self, guint64 offset, guint64 length)
{
  SnapFileRange range;

  for (guint64 left = length;
       left > 0 && snap_export_file_range (self, offset, left, &range);
       left -= range.length) {
    snap_export_drop (self, &range);
    offset += range.length;
  }
}

void
snap_export_drop (SnapExport *self, const SnapFileRange *range)
{
  SnapPageCache *noted = pages_of (self->point, range->fd);
  guint64 size = self->point->pages_size;
  guint64 start = range->fd_offset - range->fd_offset % TOGETHER;
  guint64 end = range->fd_offset + range->length;

  if (noted == NULL || end > size)
    return;
  end += MIN (size - end, (TOGETHER - end % TOGETHER) % TOGETHER);
  snap_page_cache_note (noted, start, end - start);
  snap_page_cache_drop (noted, start, end - start);
}
