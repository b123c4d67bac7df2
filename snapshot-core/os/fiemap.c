/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/fiemap.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "snapshot-core/base/error.h"

/* Extents asked for at once. */
#define BATCH 8192

typedef struct {
  SnapFiemap parent;
  int fd;
  char *name;
  struct fiemap *batch;
  guint32 index;        /* of the next extent in the batch */
  guint64 start;        /* where the next batch begins, bytes */
  gboolean is_complete; /* no extent comes after the batch */
} KernelMap;

static gboolean
ask (int fd, const char *name, struct fiemap *request, GError **error)
{
  if (ioctl (fd, FS_IOC_FIEMAP, request) == 0)
    return TRUE;
  if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EBADR)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: its file system does not tell where its data "
                           "is (FIEMAP)",
                           name);
  return snap_error_set_errno (error, errno, "%s: FIEMAP", name);
}

static gboolean
refill (KernelMap *self, GError **error)
{
  struct fiemap *batch = self->batch;
  const struct fiemap_extent *last;

  memset (batch, 0, sizeof *batch);
  batch->fm_start = self->start;
  batch->fm_length = FIEMAP_MAX_OFFSET - self->start;
  batch->fm_flags = FIEMAP_FLAG_SYNC;
  batch->fm_extent_count = BATCH;
  if (!ask (self->fd, self->name, batch, error))
    return FALSE;
  self->index = 0;
  self->is_complete = batch->fm_mapped_extents == 0;
  if (self->is_complete)
    return TRUE;
  last = &batch->fm_extents[batch->fm_mapped_extents - 1];
  self->start = last->fe_logical + last->fe_length;
  self->is_complete = (last->fe_flags & FIEMAP_EXTENT_LAST) != 0
                      || self->start >= FIEMAP_MAX_OFFSET;
  return TRUE;
}

static gboolean
kernel_map_next (SnapFiemap *map, SnapFiemapExtent *extent, gboolean *more,
                 GError **error)
{
  KernelMap *self = (KernelMap *) map;
  const struct fiemap_extent *next;

  if (self->index == self->batch->fm_mapped_extents && !self->is_complete
      && !refill (self, error))
    return FALSE;
  *more = self->index < self->batch->fm_mapped_extents;
  if (!*more)
    return TRUE;
  next = &self->batch->fm_extents[self->index++];
  extent->logical = next->fe_logical;
  extent->physical = next->fe_physical;
  extent->length = next->fe_length;
  extent->flags = next->fe_flags;
  return TRUE;
}

static void
kernel_map_free (SnapFiemap *map)
{
  KernelMap *self = (KernelMap *) map;

  g_free (self->name);
  g_free (self->batch);
  g_free (self);
}

static const SnapFiemapOps kernel_map_ops = {
  .next = kernel_map_next,
  .free = kernel_map_free,
};

SnapFiemap *
snap_fiemap_open (int fd, const char *name, GError **error)
{
  KernelMap *self = g_new0 (KernelMap, 1);

  self->parent.ops = &kernel_map_ops;
  self->fd = fd;
  self->name = g_strdup (name);
  self->batch = g_malloc0 (sizeof (struct fiemap)
                           + BATCH * sizeof (struct fiemap_extent));
  if (refill (self, error))
    return &self->parent;
  kernel_map_free (&self->parent);
  return NULL;
}

gboolean
snap_fiemap_count (int fd, const char *name, guint64 *n_extents, GError **error)
{
  struct fiemap request = { .fm_length = FIEMAP_MAX_OFFSET };

  if (!ask (fd, name, &request, error))
    return FALSE;
  *n_extents = request.fm_mapped_extents;
  return TRUE;
}
