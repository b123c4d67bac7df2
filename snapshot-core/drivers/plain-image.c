/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/plain-image.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"
#include "snapshot-core/os/page-cache.h"

typedef struct {
  SnapImage parent;
  int fd;
  char *name;
  SnapPageCache *cache;

  /* The data that was found last: without this a client that asks piece by
     piece would make the kernel walk a large file's extents each time. */
  GMutex lock; /* guards the next two */
  guint64 data_start, data_end;
} PlainImage;

static gboolean
fail (const PlainImage *self, int errnum, const char *what, guint64 offset,
      GError **error)
{
  return snap_error_set_errno (error, errnum, "%s: %s at %" G_GUINT64_FORMAT,
                               self->name, what, offset);
}

/* ---- reads ---- */

static gboolean
read_all (const PlainImage *self, guint64 offset, guint8 *buffer, gsize length,
          GError **error)
{
  while (length > 0) {
    ssize_t n = pread (self->fd, buffer, length, offset);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail (self, errno, "read", offset, error);
    if (n == 0)
      return snap_error_set (error, SNAP_ERROR_IO,
                             "%s: became shorter while it was served",
                             self->name);
    buffer += n;
    offset += n;
    length -= n;
  }
  return TRUE;
}

static gboolean
plain_read_at (SnapImage *image, guint64 offset, void *buffer, gsize length,
               GError **error)
{
  PlainImage *self = (PlainImage *) image;
  gboolean is_read;

  snap_page_cache_note (self->cache, offset, length);
  is_read = read_all (self, offset, buffer, length, error);
  snap_page_cache_drop (self->cache, offset, length);
  return is_read;
}

/* ---- allocation ---- */

/* The first data at or after @offset; the size where there is none. */
static gboolean
find_data (PlainImage *self, guint64 offset, guint64 *start, guint64 *end,
           GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  off_t data;
  off_t hole;

  if (offset < self->data_start || offset >= self->data_end) {
    data = lseek (self->fd, offset, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
      return fail (self, errno, "SEEK_DATA", offset, error);
    if (data < 0)
      data = hole = self->parent.size;
    else
      hole = lseek (self->fd, data, SEEK_HOLE);
    if (hole < 0)
      return fail (self, errno, "SEEK_HOLE", data, error);
    self->data_start = data;
    self->data_end = hole;
  }
  *start = MAX (self->data_start, offset);
  *end = self->data_end;
  return TRUE;
}

/* FALSE without an error: the receiver has had enough. */
static gboolean
emit_part (guint64 offset, guint64 end, guint32 flags, SnapExtentFunc emit,
           gpointer user_data, GError **error)
{
  SnapExtent extent = { offset, end - offset, flags };

  return end <= offset || emit (&extent, user_data, error);
}

static gboolean
plain_extents (SnapImage *image, guint64 offset, guint64 length,
               SnapExtentFunc emit, gpointer user_data, GError **error)
{
  PlainImage *self = (PlainImage *) image;
  guint64 end = offset + length;

  while (offset < end) {
    g_autoptr (GError) stop = NULL;
    guint64 data_start = 0;
    guint64 data_end = 0;

    if (!find_data (self, offset, &data_start, &data_end, error))
      return FALSE;
    data_start = MIN (data_start, end);
    data_end = MIN (data_end, end);
    if (!emit_part (offset, data_start, SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO,
                    emit, user_data, &stop)
        || !emit_part (data_start, data_end, 0, emit, user_data, &stop)) {
      if (stop == NULL)
        return TRUE;
      g_propagate_error (error, g_steal_pointer (&stop));
      return FALSE;
    }
    offset = data_end;
  }
  return TRUE;
}

/* ---- the rest ---- */

static gboolean
plain_file_range (SnapImage *image, guint64 offset, guint64 length,
                  SnapFileRange *range)
{
  const PlainImage *self = (PlainImage *) image;

  *range = (SnapFileRange){ self->fd, offset, length };
  return TRUE;
}

static void
plain_close (SnapImage *image)
{
  PlainImage *self = (PlainImage *) image;

  snap_page_cache_free (self->cache);
  snap_fd_clear (&self->fd);
  g_mutex_clear (&self->lock);
  g_free (self->name);
  g_free (self);
}

static const SnapImageOps plain_ops = {
  .struct_size = sizeof (SnapImageOps),
  .read_at = plain_read_at,
  .extents = plain_extents,
  .file_range = plain_file_range,
  .close = plain_close,
};

SnapImage *
snap_plain_image_take (int fd, const char *name, GError **error)
{
  snap_autofd int taken = fd;
  PlainImage *self;
  guint64 size;

  if (!snap_file_size (taken, &size, error)) {
    g_prefix_error (error, "%s: ", name);
    return NULL;
  }
  /* Reading ahead would fill the cache with pages that no request drops. */
  posix_fadvise (taken, 0, 0, POSIX_FADV_RANDOM);
  self = g_new0 (PlainImage, 1);
  self->parent.ops = &plain_ops;
  self->parent.size = size;
  self->fd = snap_fd_steal (&taken);
  self->name = g_strdup (name);
  self->cache = snap_page_cache_new (self->fd, size);
  g_mutex_init (&self->lock);
  return &self->parent;
}
