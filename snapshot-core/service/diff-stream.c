/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/diff-stream.h"

static gboolean
driver_bug (const SnapDiffStream *self, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_FAILED,
                         "%s: a bug in this driver: %s; nothing it says about "
                         "changes can be trusted",
                         self->source, fact);
}

/* Pass on what is pending.  FALSE as of a SnapExtentFunc. */
static gboolean
flush (SnapDiffStream *self, GError **error)
{
  SnapExtent extent = self->pending;

  if (extent.length == 0)
    return TRUE;
  self->pending.length = 0;
  self->dirty_bytes += extent.length;
  self->n_extents++;
  self->stopped = !self->emit (&extent, self->user_data, error);
  return !self->stopped;
}

/* Take a range inside the size that starts at or after all before it. */
static gboolean
add (SnapDiffStream *self, guint64 offset, guint64 end, guint32 flags,
     GError **error)
{
  SnapExtent *pending = &self->pending;

  self->covered_end = end;
  if (offset == end)
    return TRUE;
  if (pending->length > 0 && pending->offset + pending->length == offset
      && pending->flags == flags) {
    pending->length = end - pending->offset;
    return TRUE;
  }
  if (!flush (self, error))
    return FALSE;
  *pending = (SnapExtent){ offset, end - offset, flags };
  return TRUE;
}

/* Where bytes start that the older point did not have, aligned outward. */
static guint64
find_tail (const SnapDiffStream *self)
{
  guint64 granularity = MAX (self->info->granularity, 1);

  return self->from_size - self->from_size % granularity;
}

/* The driver says nothing about [covered_end, end): clean, but for what the
   older point did not have. */
static gboolean
skip_to (SnapDiffStream *self, guint64 end, GError **error)
{
  guint64 start = MAX (self->covered_end, find_tail (self));

  if (self->from_size >= self->size || start >= end)
    return TRUE;
  return add (self, start, end, SNAP_EXTENT_DIRTY, error);
}

static gboolean
check (const SnapDiffStream *self, const SnapExtent *extent, GError **error)
{
  if (self->info->granularity == 0)
    return driver_bug (self, "it set no granularity", error);
  if (extent->length > G_MAXUINT64 - extent->offset)
    return driver_bug (self, "an extent wraps around", error);
  if (extent->offset < self->driver_end)
    return driver_bug (self, "its extents overlap or go backwards", error);
  if ((extent->flags & SNAP_EXTENT_DIRTY) == 0)
    return driver_bug (self, "an extent is not dirty", error);
  return TRUE;
}

gboolean
snap_diff_stream_push (const SnapExtent *extent, gpointer stream,
                       GError **error)
{
  SnapDiffStream *self = stream;
  guint64 end = extent->offset + extent->length;

  if (g_cancellable_is_cancelled (self->cancellable))
    return snap_error_set (error, SNAP_ERROR_CANCELLED, "%s: interrupted",
                           self->source);
  if (!check (self, extent, error))
    return FALSE;
  self->driver_end = end;
  if (extent->offset >= self->size)
    return TRUE;
  return skip_to (self, extent->offset, error)
         && add (self, extent->offset, MIN (end, self->size),
                 extent->flags & (SNAP_EXTENT_DIRTY | SNAP_EXTENT_ZERO), error);
}

gboolean
snap_diff_stream_finish (SnapDiffStream *self, GError **error)
{
  if (self->stopped)
    return TRUE;
  if (self->info->granularity == 0)
    return driver_bug (self, "it set no granularity", error);
  return (skip_to (self, self->size, error) && flush (self, error))
         || self->stopped;
}
