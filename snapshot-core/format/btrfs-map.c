/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-map.h"

#include "snapshot-core/base/error.h"

/* How far to step back at first, to find what reaches over the start. */
#define FIRST_STEP_BACK (128 * 1024)

static const SnapBtrfsExtent *
extent_at (const SnapBtrfsCursor *self, guint index)
{
  return &g_array_index (self->extents, SnapBtrfsExtent, index);
}

static guint64
extent_end (const SnapBtrfsExtent *extent)
{
  return extent->start + extent->length;
}

/* ---- reading ---- */

static gboolean
check_order (const SnapBtrfsCursor *self, guint64 previous_end, GError **error)
{
  for (guint i = 0; i < self->extents->len; i++) {
    const SnapBtrfsExtent *extent = extent_at (self, i);

    if (extent->start < previous_end)
      return snap_error_set (error, SNAP_ERROR_CORRUPT,
                             "extent at %" G_GUINT64_FORMAT
                             ": overlaps another or goes backwards",
                             extent->start);
    previous_end = extent_end (extent);
  }
  return TRUE;
}

/* Read the next extents in the place of those that were read. */
static gboolean
refill (SnapBtrfsCursor *self, GError **error)
{
  const SnapBtrfsSearch search = { .first = self->next,
                                   .end = self->end,
                                   .min_generation = self->min_generation };
  guint64 previous_end = 0;

  if (self->extents->len > 0)
    previous_end = extent_end (extent_at (self, self->extents->len - 1));
  g_array_set_size (self->extents, 0);
  self->index = 0;
  if (!self->map->search (self->map, &search, self->extents, &self->more,
                          error))
    return FALSE;
  if (self->extents->len > 0)
    self->next = extent_at (self, self->extents->len - 1)->start + 1;
  self->more = self->more && self->extents->len > 0;
  return check_order (self, previous_end, error);
}

gboolean
snap_btrfs_cursor_advance (SnapBtrfsCursor *self, guint64 offset,
                           GError **error)
{
  for (;;) {
    while (self->index < self->extents->len
           && extent_end (extent_at (self, self->index)) <= offset)
      self->index++;
    if (self->index < self->extents->len || !self->more)
      return TRUE;
    if (!refill (self, error))
      return FALSE;
  }
}

/* ---- starting ---- */

/* Forget everything and read from @first on. */
static gboolean
restart (SnapBtrfsCursor *self, guint64 first, GError **error)
{
  g_array_set_size (self->extents, 0);
  self->next = first;
  return refill (self, error);
}

/*
 * A search finds extents by where they start, forwards only; what covers
 * @start begins before it, nobody knows how far.  Step back, further and
 * further, until something begins at or before @start: then whatever lies
 * between that and @start has been read, too.
 */
static gboolean
find_start (SnapBtrfsCursor *self, guint64 start, GError **error)
{
  guint64 step = FIRST_STEP_BACK;
  guint64 first = start;

  for (;;) {
    if (!restart (self, first, error))
      return FALSE;
    if (first == 0
        || (self->extents->len > 0 && extent_at (self, 0)->start <= start))
      return snap_btrfs_cursor_advance (self, start, error);
    first = first > step ? first - step : 0;
    step = MIN (step, G_MAXUINT64 / 8) * 8;
  }
}

static void
clear_to (SnapBtrfsCursor *self, SnapBtrfsMap *map, guint64 end)
{
  *self = (SnapBtrfsCursor){
    .map = map,
    .end = end,
    .extents = g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent)),
  };
}

gboolean
snap_btrfs_cursor_init (SnapBtrfsCursor *self, SnapBtrfsMap *map, guint64 start,
                        guint64 end, GError **error)
{
  clear_to (self, map, end);
  return find_start (self, start, error);
}

gboolean
snap_btrfs_cursor_init_since (SnapBtrfsCursor *self, SnapBtrfsMap *map,
                              guint64 min_generation, GError **error)
{
  clear_to (self, map, G_MAXUINT64);
  self->min_generation = min_generation;
  return refill (self, error);
}

void
snap_btrfs_cursor_clear (SnapBtrfsCursor *self)
{
  g_clear_pointer (&self->extents, g_array_unref);
}

/* ---- looking ---- */

const SnapBtrfsExtent *
snap_btrfs_cursor_extent (const SnapBtrfsCursor *self)
{
  return self->index < self->extents->len ? extent_at (self, self->index)
                                          : NULL;
}

const SnapBtrfsExtent *
snap_btrfs_cursor_at (const SnapBtrfsCursor *self, guint64 offset,
                      guint64 *edge)
{
  const SnapBtrfsExtent *extent = snap_btrfs_cursor_extent (self);

  if (extent == NULL)
    return NULL;
  if (extent->start > offset) {
    *edge = MIN (*edge, extent->start);
    return NULL;
  }
  *edge = MIN (*edge, extent_end (extent));
  return extent;
}
