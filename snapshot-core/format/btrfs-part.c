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

/* All that both sides have there. */
static gboolean
compare_range (SnapBtrfsPart *self, guint64 offset, guint64 end, GError **error)
{
  g_auto (SnapBtrfsCursor) from = { 0 };
  g_auto (SnapBtrfsCursor) to = { 0 };

  return snap_btrfs_cursor_init (&from, self->from, offset, end, error)
         && snap_btrfs_cursor_init (&to, self->to, offset, end, error)
         && compare_cursors (self, &from, &to, offset, end, error);
}

/* ---- candidates ---- */

static SnapBtrfsMap *
newer_map (const SnapBtrfsPart *self)
{
  return self->diff->from_is_newer ? self->from : self->to;
}

/* The newer side has nothing in the range but candidates. */
static gboolean
compare_with_candidates (SnapBtrfsPart *self, SnapBtrfsCursor *candidates,
                         guint64 offset, guint64 end, GError **error)
{
  g_auto (SnapBtrfsCursor) older = { 0 };

  if (self->diff->from_is_newer)
    return snap_btrfs_cursor_init (&older, self->to, offset, end, error)
           && compare_cursors (self, candidates, &older, offset, end, error);
  return snap_btrfs_cursor_init (&older, self->from, offset, end, error)
         && compare_cursors (self, &older, candidates, offset, end, error);
}

static guint64
extent_end (const SnapBtrfsExtent *extent)
{
  return extent->start + extent->length;
}

/* Candidates near to each other, as far as they were read. */
typedef struct {
  guint64 start, end;
  gboolean has_gaps;
} Run;

static Run
find_run (const SnapBtrfsCursor *candidates)
{
  const SnapBtrfsExtent *first = snap_btrfs_cursor_extent (candidates);
  Run run = { .start = first->start, .end = extent_end (first) };

  for (guint i = candidates->index + 1; i < candidates->extents->len; i++) {
    const SnapBtrfsExtent *next =
        &g_array_index (candidates->extents, SnapBtrfsExtent, i);

    if (next->start - run.end > NEAR)
      break;
    run.has_gaps |= next->start > run.end;
    run.end = extent_end (next);
  }
  return run;
}

/*
 * What was cut out of a leaf that is otherwise still there lies between its
 * items, or between them and those of the leaves beside it.  *end is moved to
 * where the newer side has its next extent, whichever leaf that is in.
 */
static gboolean
compare_gap_after (SnapBtrfsPart *self, SnapBtrfsCursor *candidates,
                   guint64 *end, GError **error)
{
  const SnapBtrfsExtent *next = snap_btrfs_cursor_extent (candidates);
  guint64 limit = next != NULL ? MIN (next->start, self->end) : self->end;
  guint64 start = *end;

  if (start >= limit)
    return TRUE;
  return snap_btrfs_map_find_after (newer_map (self), start, limit, end, error)
         && (start == *end
             || compare_with_candidates (self, candidates, start, *end, error));
}

/* The same for the gap before a candidate at *start, down to @limit. */
static gboolean
include_gap_before (const SnapBtrfsPart *self, guint64 limit, guint64 *start,
                    GError **error)
{
  SnapBtrfsExtent before;
  gboolean found;

  if (*start == limit)
    return TRUE;
  if (!snap_btrfs_map_find_before (newer_map (self), *start, &before, &found,
                                   error))
    return FALSE;
  *start = found ? CLAMP (extent_end (&before), limit, *start) : limit;
  return TRUE;
}

static gboolean
compare_run (SnapBtrfsPart *self, SnapBtrfsCursor *candidates, const Run *run,
             GError **error)
{
  if (!run->has_gaps)
    return compare_with_candidates (self, candidates, run->start, run->end,
                                    error);
  return compare_range (self, run->start, run->end, error)
         && snap_btrfs_cursor_advance (candidates, run->end, error);
}

static gboolean
compare_runs (SnapBtrfsPart *self, SnapBtrfsCursor *candidates, guint64 done,
              GError **error)
{
  while (done < self->end && snap_btrfs_cursor_extent (candidates) != NULL) {
    Run run = find_run (candidates);

    run.end = MIN (run.end, self->end);
    if (!include_gap_before (self, done, &run.start, error)
        || !compare_run (self, candidates, &run, error)
        || !compare_gap_after (self, candidates, &run.end, error))
      return FALSE;
    done = run.end;
  }
  return TRUE;
}

/* What reaches over the start of a part, or is missing there, is nobody
   else's: it is always compared. */
static gboolean
compare_start (SnapBtrfsPart *self, guint64 *done, GError **error)
{
  *done = self->start;
  if (self->start == 0)
    return TRUE;
  return snap_btrfs_map_find_after (newer_map (self), self->start, self->end,
                                    done, error)
         && (*done == self->start
             || compare_range (self, self->start, *done, error));
}

/* ---- the whole part ---- */

gboolean
snap_btrfs_part_compare_all (SnapBtrfsPart *self, GError **error)
{
  return compare_range (self, self->start, self->end, error);
}

gboolean
snap_btrfs_part_compare_since (SnapBtrfsPart *self, GError **error)
{
  g_auto (SnapBtrfsCursor) candidates = { 0 };
  guint64 done;

  if (self->is_grown)
    return snap_btrfs_part_compare_all (self, error);
  return compare_start (self, &done, error)
         && snap_btrfs_cursor_init_since (&candidates, newer_map (self), done,
                                          self->end, self->diff->since, error)
         && compare_runs (self, &candidates, done, error);
}
