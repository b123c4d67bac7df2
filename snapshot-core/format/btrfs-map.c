/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-map.h"

#include "snapshot-core/base/error.h"

/* How far to step back at first, to find what begins before an offset, and by
   how much further each time after that. */
#define FIRST_STEP_BACK (32 * 1024)
#define STEP_BACK_GROWTH 8

/* How many extents to read at once on the way back. */
#define N_STEP_BACK 32

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

void
snap_btrfs_map_free (SnapBtrfsMap *self)
{
  if (self != NULL)
    self->free (self);
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
                                   .min_generation = self->min_generation,
                                   .n_likely = self->n_likely };
  guint64 previous_end = 0;

  if (self->extents->len > 0)
    previous_end = extent_end (extent_at (self, self->extents->len - 1));
  g_array_set_size (self->extents, 0);
  self->index = 0;
  self->n_likely = 0;
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
  if (self->extents == NULL)
    return TRUE;
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

/* Search [first, end) for up to @n extents; *last is the last of them. */
static gboolean
find_some (SnapBtrfsMap *map, guint64 first, guint64 end, guint n,
           SnapBtrfsExtent *last, guint *n_found, gboolean *more,
           GError **error)
{
  const SnapBtrfsSearch search = { .first = first, .end = end, .n_max = n };
  g_autoptr (GArray) extents =
      g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent));

  if (!map->search (map, &search, extents, more, error))
    return FALSE;
  *n_found = extents->len;
  if (extents->len > 0)
    *last = g_array_index (extents, SnapBtrfsExtent, extents->len - 1);
  else if (*more)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "tree search: nothing found, and more to come");
  return TRUE;
}

/* The last extent of those that begin in [first, end).  If these are many,
   half of the range that is left is ruled out each time. */
static gboolean
find_last (SnapBtrfsMap *map, guint64 first, guint64 end, SnapBtrfsExtent *last,
           gboolean *found, GError **error)
{
  gboolean more = TRUE;
  guint n;

  while (more) {
    guint64 middle;

    if (!find_some (map, first, end, N_STEP_BACK, last, &n, &more, error))
      return FALSE;
    *found |= n > 0;
    if (!more)
      break;
    first = last->start + 1;
    middle = first + (end - first) / 2;
    if (!find_some (map, middle, end, 1, last, &n, &more, error))
      return FALSE;
    if (n > 0)
      first = last->start + 1;
    else
      end = middle;
    more = TRUE;
  }
  return TRUE;
}

/*
 * A search finds extents by where they start, forwards only; where the last
 * one before @offset starts, nobody knows.  Step back, further and further,
 * until one is found.
 */
gboolean
snap_btrfs_map_find_before (SnapBtrfsMap *map, guint64 offset,
                            SnapBtrfsExtent *last, gboolean *found,
                            GError **error)
{
  guint64 step = FIRST_STEP_BACK;

  *found = FALSE;
  while (offset > 0 && !*found) {
    guint64 first = offset > step ? offset - step : 0;

    if (!find_last (map, first, offset, last, found, error))
      return FALSE;
    offset = first;
    step = MIN (step, G_MAXUINT64 / STEP_BACK_GROWTH) * STEP_BACK_GROWTH;
  }
  return TRUE;
}

gboolean
snap_btrfs_map_find_after (SnapBtrfsMap *map, guint64 offset, guint64 end,
                           guint64 *start, GError **error)
{
  SnapBtrfsExtent next;
  gboolean more;
  guint n;

  if (!find_some (map, offset, end, 1, &next, &n, &more, error))
    return FALSE;
  *start = n > 0 ? next.start : end;
  return TRUE;
}

/* Put what begins before @start and reaches over it before what was read. */
static gboolean
add_covering (SnapBtrfsCursor *self, guint64 start, GError **error)
{
  SnapBtrfsExtent before;
  gboolean found;

  if (self->extents->len > 0 && extent_at (self, 0)->start == start)
    return TRUE;
  if (!snap_btrfs_map_find_before (self->map, start, &before, &found, error))
    return FALSE;
  if (found && extent_end (&before) > start)
    g_array_prepend_val (self->extents, before);
  return check_order (self, 0, error);
}

static void
clear_to (SnapBtrfsCursor *self, SnapBtrfsMap *map, guint64 start, guint64 end)
{
  *self = (SnapBtrfsCursor){
    .map = map,
    .next = start,
    .end = end,
    .extents = g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent)),
  };
}

gboolean
snap_btrfs_cursor_init (SnapBtrfsCursor *self, SnapBtrfsMap *map, guint64 start,
                        guint64 end, guint n_likely, GError **error)
{
  clear_to (self, map, start, end);
  self->n_likely = n_likely;
  return refill (self, error) && add_covering (self, start, error);
}

gboolean
snap_btrfs_cursor_init_since (SnapBtrfsCursor *self, SnapBtrfsMap *map,
                              guint64 start, guint64 end,
                              guint64 min_generation, GError **error)
{
  clear_to (self, map, start, end);
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
  if (self->extents == NULL || self->index == self->extents->len)
    return NULL;
  return extent_at (self, self->index);
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
