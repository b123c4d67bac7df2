/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-diff.h"

#include "snapshot-core/base/parallel.h"
#include "snapshot-core/format/btrfs-part.h"

/* A file is compared in so many parts at most, none shorter than this.  They
   are more than there are threads: one part may have all the changes. */
#define MAX_PARTS 32
#define MIN_PART_LENGTH (1024 * 1024)

/* One attempt. */
typedef struct {
  const SnapBtrfsDiff *diff;
  gboolean (*compare) (SnapBtrfsPart *part, GError **error);
  GArray *parts;

  /* The sums of all parts: */
  SnapExtents *dirty;
  guint64 from_allocated, to_allocated;
  gboolean saw_inline;
} Comparison;

static void
part_clear (gpointer data)
{
  SnapBtrfsPart *part = data;

  g_clear_pointer (&part->dirty, snap_extents_unref);
}

static void
comparison_clear (Comparison *self)
{
  g_clear_pointer (&self->parts, g_array_unref);
  g_clear_pointer (&self->dirty, snap_extents_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Comparison, comparison_clear)

static void
add_part (Comparison *self, guint64 start, guint64 end, gboolean is_grown)
{
  const SnapBtrfsPart part = { .diff = self->diff,
                               .start = start,
                               .end = end,
                               .is_grown = is_grown,
                               .dirty = snap_extents_new () };

  g_array_append_val (self->parts, part);
}

static guint64
choose_part_length (const SnapBtrfsDiff *diff)
{
  guint64 size = MAX (diff->from.size, diff->to.size);

  if (diff->n_threads <= 1)
    return G_MAXUINT64;
  return MAX (size / MAX_PARTS, MIN_PART_LENGTH);
}

/* Where the file has grown begins a part of its own. */
static void
add_parts (Comparison *self, guint64 start, guint64 end)
{
  const SnapBtrfsDiff *diff = self->diff;
  guint64 size = MAX (diff->from.size, diff->to.size);
  guint64 length = choose_part_length (diff);
  guint64 grown_from = diff->from.size - diff->from.size % diff->granularity;

  if (diff->from.size >= diff->to.size)
    grown_from = G_MAXUINT64;
  while (start < end) {
    guint64 next = end;

    if (start < size && size - start > length)
      next = MIN (next, start + length);
    if (start < grown_from)
      next = MIN (next, grown_from);
    add_part (self, start, next, start >= grown_from);
    start = next;
  }
}

/* Several threads need a map each. */
static gboolean
do_part (guint index, gpointer user_data, GError **error)
{
  const Comparison *self = user_data;
  const SnapBtrfsDiff *diff = self->diff;
  SnapBtrfsPart *part = &g_array_index (self->parts, SnapBtrfsPart, index);
  g_autoptr (SnapBtrfsMap) from = NULL;
  g_autoptr (SnapBtrfsMap) to = NULL;

  part->from = diff->from.map;
  part->to = diff->to.map;
  if (diff->n_threads > 1) {
    part->from = from = diff->from.map->dup (diff->from.map);
    part->to = to = diff->to.map->dup (diff->to.map);
  }
  return self->compare (part, error);
}

static void
add_up (Comparison *self)
{
  for (guint i = 0; i < self->parts->len; i++) {
    const SnapBtrfsPart *part = &g_array_index (self->parts, SnapBtrfsPart, i);

    self->from_allocated += part->from_allocated;
    self->to_allocated += part->to_allocated;
    self->saw_inline |= part->saw_inline;
    for (gsize j = 0; j < snap_extents_n (part->dirty); j++)
      snap_extents_append_func (snap_extents_at (part->dirty, j), self->dirty,
                                NULL);
  }
}

/* Compare [start, end). */
static gboolean
comparison_run (Comparison *self, guint64 start, guint64 end, GError **error)
{
  self->parts = g_array_new (FALSE, FALSE, sizeof (SnapBtrfsPart));
  g_array_set_clear_func (self->parts, part_clear);
  self->dirty = snap_extents_new ();
  add_parts (self, start, end);
  if (!snap_parallel_run (MAX (self->diff->n_threads, 1), self->parts->len,
                          do_part, self, error))
    return FALSE;
  add_up (self);
  return TRUE;
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

/* ---- the whole ---- */

static SnapExtents *
take_result (const Comparison *self, guint64 offset, guint64 length)
{
  g_autoptr (SnapExtents) aligned = snap_extents_align (
      self->dirty, self->diff->granularity, self->diff->to.size);

  return snap_extents_clip (aligned, offset, length);
}

/* *method says why if the result is NULL without an error. */
static SnapExtents *
diff_since (const SnapBtrfsDiff *diff, guint64 offset, guint64 length,
            SnapBtrfsMethod *method, GError **error)
{
  g_auto (Comparison) some = { .diff = diff };

  some.compare = snap_btrfs_part_compare_since;
  *method = SNAP_BTRFS_BY_CANDIDATES;
  if (!comparison_run (&some, 0, G_MAXUINT64, error))
    return NULL;
  if (is_explained (&some))
    return take_result (&some, offset, length);
  *method = SNAP_BTRFS_BY_WALK_UNEXPLAINED;
  return NULL;
}

SnapExtents *
snap_btrfs_diff (const SnapBtrfsDiff *diff, guint64 offset, guint64 length,
                 SnapBtrfsMethod *method, GError **error)
{
  g_auto (Comparison) all = { .diff = diff };
  SnapBtrfsMethod used = SNAP_BTRFS_BY_WALK;
  SnapExtents *dirty = NULL;

  if (diff->since != 0)
    dirty = diff_since (diff, offset, length, &used, error);
  if (method != NULL)
    *method = used;
  if (dirty != NULL || used == SNAP_BTRFS_BY_CANDIDATES)
    return dirty;
  all.compare = snap_btrfs_part_compare_all;
  if (!comparison_run (&all, offset, offset + length, error))
    return NULL;
  return take_result (&all, offset, length);
}
