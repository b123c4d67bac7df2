/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-diff.h"

#include <string.h>

/* Candidates this near to each other are compared in one go: a few extents
   more are cheaper than another search. */
#define NEAR (1024 * 1024)

/* With more than one part in so many changed, walking everything is faster. */
#define MAX_CHANGED_PART 4

/* One attempt. */
typedef struct {
  const SnapBtrfsDiff *diff;
  SnapExtents *dirty;
  guint64 grown_from; /* from here on everything is dirty */

  /* Of what was compared so far: */
  guint64 from_allocated, to_allocated;
  gboolean saw_inline;
} Comparison;

static void
comparison_init (Comparison *self, const SnapBtrfsDiff *diff)
{
  *self = (Comparison){ .diff = diff, .dirty = snap_extents_new () };
  self->grown_from = diff->from.size - diff->from.size % diff->granularity;
  if (diff->from.size >= diff->to.size)
    self->grown_from = G_MAXUINT64;
}

static void
comparison_clear (Comparison *self)
{
  g_clear_pointer (&self->dirty, snap_extents_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Comparison, comparison_clear)

/* ---- comparing a range on both sides ---- */

static gboolean
reads_as_zeroes (const SnapBtrfsExtent *extent)
{
  return extent == NULL || extent->kind == SNAP_BTRFS_HOLE
         || extent->kind == SNAP_BTRFS_PREALLOC;
}

static gboolean
is_same (const SnapBtrfsExtent *from, const SnapBtrfsExtent *to)
{
  if (reads_as_zeroes (from) || reads_as_zeroes (to))
    return reads_as_zeroes (from) && reads_as_zeroes (to);
  return snap_btrfs_extent_shares (from, to);
}

static gboolean
is_inline (const SnapBtrfsExtent *extent)
{
  return extent != NULL && extent->kind == SNAP_BTRFS_INLINE;
}

static guint64
allocated_bytes (const SnapBtrfsExtent *extent, guint64 length)
{
  return extent != NULL && extent->kind != SNAP_BTRFS_HOLE ? length : 0;
}

/* Both sides are uniform over [offset, offset + length). */
static void
compare_step (Comparison *self, const SnapBtrfsExtent *from,
              const SnapBtrfsExtent *to, guint64 offset, guint64 length)
{
  guint32 flags = SNAP_EXTENT_DIRTY;

  self->from_allocated += allocated_bytes (from, length);
  self->to_allocated += allocated_bytes (to, length);
  self->saw_inline |= is_inline (from) || is_inline (to);
  if (reads_as_zeroes (to))
    flags |= SNAP_EXTENT_ZERO;
  if (offset >= self->grown_from || !is_same (from, to))
    snap_extents_append (self->dirty, offset, length, flags);
}

static gboolean
compare_range (Comparison *self, guint64 offset, guint64 end, GError **error)
{
  const SnapBtrfsDiff *diff = self->diff;
  g_auto (SnapBtrfsCursor) from = { 0 };
  g_auto (SnapBtrfsCursor) to = { 0 };

  if (!snap_btrfs_cursor_init (&from, diff->from.map, offset, end, error)
      || !snap_btrfs_cursor_init (&to, diff->to.map, offset, end, error))
    return FALSE;
  while (offset < end) {
    guint64 edge =
        offset < self->grown_from ? MIN (end, self->grown_from) : end;
    const SnapBtrfsExtent *from_extent =
        snap_btrfs_cursor_at (&from, offset, &edge);
    const SnapBtrfsExtent *to_extent =
        snap_btrfs_cursor_at (&to, offset, &edge);

    compare_step (self, from_extent, to_extent, offset, edge - offset);
    offset = edge;
    if (!snap_btrfs_cursor_advance (&from, offset, error)
        || !snap_btrfs_cursor_advance (&to, offset, error))
      return FALSE;
  }
  return TRUE;
}

/* ---- candidates ---- */

static const SnapBtrfsSide *
newer_side (const SnapBtrfsDiff *diff)
{
  return diff->from_is_newer ? &diff->from : &diff->to;
}

static void
add_candidate (SnapExtents *ranges, const SnapBtrfsExtent *extent)
{
  guint64 end = snap_extents_end (ranges);
  guint64 start = extent->start;

  if (snap_extents_n (ranges) > 0 && start >= end && start - end <= NEAR)
    start = end;
  snap_extents_append (ranges, start, extent->start + extent->length - start,
                       0);
}

/*
 * The ranges of the newer side's extents in leaves written since the older
 * cut.  *too_many: it was given up, because that is most of the file.
 */
static gboolean
find_candidates (const SnapBtrfsDiff *diff, SnapExtents *ranges,
                 gboolean *too_many, GError **error)
{
  const SnapBtrfsSide *newer = newer_side (diff);
  g_auto (SnapBtrfsCursor) cursor = { 0 };
  const SnapBtrfsExtent *extent;
  guint64 bytes = 0;

  if (!snap_btrfs_cursor_init_since (&cursor, newer->map, diff->since, error))
    return FALSE;
  *too_many = FALSE;
  while ((extent = snap_btrfs_cursor_extent (&cursor)) != NULL) {
    guint64 end = extent->start + extent->length;

    add_candidate (ranges, extent);
    bytes += extent->length;
    *too_many = bytes > newer->allocated / MAX_CHANGED_PART;
    if (*too_many)
      return TRUE;
    if (!snap_btrfs_cursor_advance (&cursor, end, error))
      return FALSE;
  }
  return TRUE;
}

/* Where the newer side has its next extent; the end of offsets if nowhere. */
static gboolean
find_next_extent (SnapBtrfsMap *map, guint64 offset, guint64 *start,
                  GError **error)
{
  const SnapBtrfsSearch search = { .first = offset,
                                   .end = G_MAXUINT64,
                                   .n_max = 1 };
  g_autoptr (GArray) found =
      g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent));
  gboolean more;

  if (!map->search (map, &search, found, &more, error))
    return FALSE;
  *start = found->len > 0 ? g_array_index (found, SnapBtrfsExtent, 0).start
                          : G_MAXUINT64;
  return TRUE;
}

/* Add to each range the gap after it: what was cut out of a leaf that is
   otherwise still there lies in such a gap. */
static SnapExtents *
add_gaps (const SnapBtrfsDiff *diff, const SnapExtents *ranges, GError **error)
{
  g_autoptr (SnapExtents) wider = snap_extents_new ();

  for (gsize i = 0; i < snap_extents_n (ranges); i++) {
    const SnapExtent *range = snap_extents_at (ranges, i);
    guint64 next;

    if (!find_next_extent (newer_side (diff)->map,
                           range->offset + range->length, &next, error))
      return NULL;
    snap_extents_append (wider, range->offset, next - range->offset, 0);
  }
  return g_steal_pointer (&wider);
}

/* All that is to be compared; NULL without an error if it is too much. */
static SnapExtents *
find_ranges (const Comparison *self, GError **error)
{
  g_autoptr (SnapExtents) candidates = snap_extents_new ();
  g_autoptr (SnapExtents) ranges = NULL;
  g_autoptr (SnapExtents) grown = snap_extents_new ();
  gboolean too_many;

  if (!find_candidates (self->diff, candidates, &too_many, error) || too_many)
    return NULL;
  ranges = add_gaps (self->diff, candidates, error);
  if (ranges == NULL)
    return NULL;
  snap_extents_append (grown, self->grown_from, G_MAXUINT64 - self->grown_from,
                       0);
  return snap_extents_union (ranges, grown);
}

/* Whether what was not compared has as many bytes on both sides.  If so, no
   extent is missing there. */
static gboolean
is_explained (const Comparison *self)
{
  const SnapBtrfsDiff *diff = self->diff;

  return !self->saw_inline
         && diff->from.allocated - self->from_allocated
                == diff->to.allocated - self->to_allocated;
}

/* *method stays what it was if it worked. */
static gboolean
compare_candidates (Comparison *self, SnapBtrfsMethod *method, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (SnapExtents) ranges = find_ranges (self, &reason);

  if (reason != NULL) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  if (ranges == NULL) {
    *method = SNAP_BTRFS_BY_WALK_MANY;
    return TRUE;
  }
  for (gsize i = 0; i < snap_extents_n (ranges); i++) {
    const SnapExtent *range = snap_extents_at (ranges, i);

    if (!compare_range (self, range->offset, range->offset + range->length,
                        error))
      return FALSE;
  }
  if (!is_explained (self))
    *method = SNAP_BTRFS_BY_WALK_UNEXPLAINED;
  return TRUE;
}

/* ---- either way ---- */

static SnapExtents *
take_result (const Comparison *self, guint64 offset, guint64 length)
{
  g_autoptr (SnapExtents) aligned = snap_extents_align (
      self->dirty, self->diff->granularity, self->diff->to.size);

  return snap_extents_clip (aligned, offset, length);
}

SnapExtents *
snap_btrfs_diff (const SnapBtrfsDiff *diff, guint64 offset, guint64 length,
                 SnapBtrfsMethod *method, GError **error)
{
  SnapBtrfsMethod used = SNAP_BTRFS_BY_WALK;
  g_auto (Comparison) walk = { 0 };

  if (diff->since != 0) {
    g_auto (Comparison) candidates = { 0 };

    used = SNAP_BTRFS_BY_CANDIDATES;
    comparison_init (&candidates, diff);
    if (!compare_candidates (&candidates, &used, error))
      return NULL;
    if (method != NULL)
      *method = used;
    if (used == SNAP_BTRFS_BY_CANDIDATES)
      return take_result (&candidates, offset, length);
  }
  if (method != NULL)
    *method = used;
  comparison_init (&walk, diff);
  if (!compare_range (&walk, offset, offset + length, error))
    return NULL;
  return take_result (&walk, offset, length);
}
