/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-part.h"

/* A gap between candidates that is at most so long is likely to be one in the
   file, not a leaf that was left out.  Looking into it once more is cheaper
   than to ask which it is. */
#define NEAR (128 * 1024)

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
compare_step (SnapBtrfsPart *self, const SnapBtrfsExtent *from,
              const SnapBtrfsExtent *to, guint64 offset, guint64 length)
{
  guint32 flags = SNAP_EXTENT_DIRTY;

  self->from_allocated += allocated_bytes (from, length);
  self->to_allocated += allocated_bytes (to, length);
  self->saw_inline |= is_inline (from) || is_inline (to);
  if (reads_as_zeroes (to))
    flags |= SNAP_EXTENT_ZERO;
  if (self->is_grown || !is_same (from, to))
    snap_extents_append (self->dirty, offset, length, flags);
}

static gboolean
compare_cursors (SnapBtrfsPart *self, SnapBtrfsCursor *from,
                 SnapBtrfsCursor *to, guint64 offset, guint64 end,
                 GError **error)
{
  while (offset < end) {
    guint64 edge = end;
    const SnapBtrfsExtent *from_extent =
        snap_btrfs_cursor_at (from, offset, &edge);
    const SnapBtrfsExtent *to_extent = snap_btrfs_cursor_at (to, offset, &edge);

    compare_step (self, from_extent, to_extent, offset, edge - offset);
    offset = edge;
    if (!snap_btrfs_cursor_advance (from, offset, error)
        || !snap_btrfs_cursor_advance (to, offset, error))
      return FALSE;
  }
  return TRUE;
}

/* All that both sides have there: about @n_likely extents, or 0. */
static gboolean
compare_range (SnapBtrfsPart *self, guint64 offset, guint64 end, guint n_likely,
               GError **error)
{
  g_auto (SnapBtrfsCursor) from = { 0 };
  g_auto (SnapBtrfsCursor) to = { 0 };

  return snap_btrfs_cursor_init (&from, self->from, offset, end, n_likely,
                                 error)
         && snap_btrfs_cursor_init (&to, self->to, offset, end, n_likely, error)
         && compare_cursors (self, &from, &to, offset, end, error);
}

/* ---- candidates ---- */

static SnapBtrfsMap *
newer_map (const SnapBtrfsPart *self)
{
  return self->diff->from_is_newer ? self->from : self->to;
}

static SnapBtrfsMap *
older_map (const SnapBtrfsPart *self)
{
  return self->diff->from_is_newer ? self->to : self->from;
}

/* What the newer side has there is in @newer: about @n_likely extents, or 0. */
static gboolean
compare_with_older (SnapBtrfsPart *self, SnapBtrfsCursor *newer, guint64 offset,
                    guint64 end, guint n_likely, GError **error)
{
  gboolean from_is_newer = self->diff->from_is_newer;
  SnapBtrfsMap *map = older_map (self);
  g_auto (SnapBtrfsCursor) older = { 0 };

  return snap_btrfs_cursor_init (&older, map, offset, end, n_likely, error)
         && compare_cursors (self, from_is_newer ? newer : &older,
                             from_is_newer ? &older : newer, offset, end,
                             error);
}

static guint64
extent_end (const SnapBtrfsExtent *extent)
{
  return extent->start + extent->length;
}

/* Candidates near to each other, as far as they were read. */
typedef struct {
  guint64 start, end;
  guint n;
  gboolean has_gaps;
} Run;

static Run
find_run (const SnapBtrfsCursor *candidates)
{
  const SnapBtrfsExtent *first = snap_btrfs_cursor_extent (candidates);
  Run run = { .start = first->start, .end = extent_end (first), .n = 1 };

  for (guint i = candidates->index + 1; i < candidates->extents->len; i++) {
    const SnapBtrfsExtent *next =
        &g_array_index (candidates->extents, SnapBtrfsExtent, i);

    if (next->start - run.end > NEAR)
      break;
    run.has_gaps |= next->start > run.end;
    run.end = extent_end (next);
    run.n++;
  }
  return run;
}

static gboolean
compare_run (SnapBtrfsPart *self, SnapBtrfsCursor *candidates, const Run *run,
             GError **error)
{
  if (!run->has_gaps)
    return compare_with_older (self, candidates, run->start, run->end, run->n,
                               error);
  return compare_range (self, run->start, run->end, run->n, error)
         && snap_btrfs_cursor_advance (candidates, run->end, error);
}

static gboolean
compare_runs (SnapBtrfsPart *self, SnapBtrfsCursor *candidates, GError **error)
{
  while (snap_extents_end (self->seen) < self->limit
         && snap_btrfs_cursor_extent (candidates) != NULL) {
    Run run = find_run (candidates);

    run.end = MIN (run.end, self->limit);
    if (!compare_run (self, candidates, &run, error))
      return FALSE;
    snap_extents_append (self->seen, run.start, run.end - run.start, 0);
  }
  return TRUE;
}

/* ---- beside the candidates ---- */

/* Of a full file it is known what lies there.  Only its first sector may be
   inline. */
static void
compare_with_full (SnapBtrfsPart *self, const SnapBtrfsSide *older,
                   guint64 offset, guint64 end)
{
  const SnapBtrfsExtent data = { .kind = SNAP_BTRFS_DATA };

  end = MIN (end, older->size);
  if (offset < end && self->diff->from_is_newer)
    compare_step (self, NULL, &data, offset, end - offset);
  else if (offset < end)
    compare_step (self, &data, NULL, offset, end - offset);
}

/* Bytes that were written behind the end, before the size was, may be as many
   as a hole before the end lacks. */
static gboolean
check_is_full (const SnapBtrfsSide *side, SnapBtrfsMap *map, gboolean *is_full,
               GError **error)
{
  guint64 behind = G_MAXUINT64;

  if (side->looks_full
      && !snap_btrfs_map_find_after (map, side->size, G_MAXUINT64, &behind,
                                     error))
    return FALSE;
  *is_full = side->looks_full && behind == G_MAXUINT64;
  return TRUE;
}

/* The newer side has nothing there. */
static gboolean
compare_absent (SnapBtrfsPart *self, guint64 offset, guint64 end,
                GError **error)
{
  const SnapBtrfsDiff *diff = self->diff;
  const SnapBtrfsSide *older = diff->from_is_newer ? &diff->to : &diff->from;
  SnapBtrfsCursor nothing = { 0 };
  gboolean is_full;

  if (!check_is_full (older, older_map (self), &is_full, error))
    return FALSE;
  if (!is_full || offset < diff->granularity)
    return compare_with_older (self, &nothing, offset, end, 0, error);
  compare_with_full (self, older, offset, end);
  return TRUE;
}

/* A range that was not compared, and whether it begins and ends beside one
   that was. */
typedef struct {
  guint64 start, end;
  gboolean starts_beside, ends_beside;
} Unseen;

/* Move *start to where the newer side's last extent before @offset ends. */
static gboolean
skip_to_end_before (SnapBtrfsPart *self, guint64 offset, guint64 *start,
                    GError **error)
{
  SnapBtrfsExtent before;
  gboolean found;

  if (!snap_btrfs_map_find_before (newer_map (self), offset, &before, &found,
                                   error))
    return FALSE;
  if (found)
    *start = MAX (*start, extent_end (&before));
  return TRUE;
}

/*
 * What was cut out of a leaf that is otherwise still there lies between its
 * items, or between them and those of the leaves beside it.  The latter is
 * what is looked for here, at both ends of the range.
 */
static gboolean
compare_unseen (SnapBtrfsPart *self, const Unseen *unseen, GError **error)
{
  guint64 start = unseen->start;
  guint64 next;

  if (!snap_btrfs_map_find_after (newer_map (self), start, unseen->end, &next,
                                  error)
      || (next > start && !unseen->starts_beside
          && !skip_to_end_before (self, start, &start, error))
      || (next > start && !compare_absent (self, start, next, error)))
    return FALSE;
  if (next == unseen->end || !unseen->ends_beside)
    return TRUE;
  return skip_to_end_before (self, unseen->end, &next, error)
         && (next >= unseen->end
             || compare_absent (self, next, unseen->end, error));
}

/* All that lies between the ranges that were compared. */
static gboolean
compare_all_unseen (SnapBtrfsPart *self, GError **error)
{
  gsize n = snap_extents_n (self->seen);
  Unseen unseen = { .start = self->start };

  for (gsize i = 0; i <= n; i++) {
    const SnapExtent *seen = i < n ? snap_extents_at (self->seen, i) : NULL;

    unseen.end = seen != NULL ? seen->offset : self->end;
    unseen.ends_beside = seen != NULL;
    if (unseen.start < unseen.end && !compare_unseen (self, &unseen, error))
      return FALSE;
    if (seen != NULL)
      unseen.start = seen->offset + seen->length;
    unseen.starts_beside = TRUE;
  }
  return TRUE;
}

/* ---- the whole part ---- */

gboolean
snap_btrfs_part_compare_all (SnapBtrfsPart *self, GError **error)
{
  return compare_range (self, self->start, self->end, 0, error);
}

gboolean
snap_btrfs_part_compare_since (SnapBtrfsPart *self, GError **error)
{
  g_auto (SnapBtrfsCursor) candidates = { 0 };

  if (self->is_grown)
    return snap_btrfs_part_compare_all (self, error);
  return snap_btrfs_cursor_init_since (&candidates, newer_map (self),
                                       self->start, self->end,
                                       self->diff->since, error)
         && compare_runs (self, &candidates, error);
}

/* What is dirty is found in ascending order, but for the second time. */
gboolean
snap_btrfs_part_compare_beside (SnapBtrfsPart *self, GError **error)
{
  g_autoptr (SnapExtents) before = NULL;
  g_autoptr (SnapExtents) found = NULL;

  if (self->is_grown)
    return TRUE;
  before = g_steal_pointer (&self->dirty);
  self->dirty = snap_extents_new ();
  if (!compare_all_unseen (self, error))
    return FALSE;
  found = g_steal_pointer (&self->dirty);
  self->dirty = snap_extents_union (before, found);
  return TRUE;
}
