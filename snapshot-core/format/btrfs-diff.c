/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-diff.h"

#include "snapshot-core/base/error.h"
#include "snapshot-core/base/parallel.h"
#include "snapshot-core/format/btrfs-part.h"

/* A file is compared in so many parts at most, none shorter than this.  They
   are more than there are threads: one part may have all the changes. */
#define MAX_PARTS 32
#define MIN_PART_LENGTH (1024 * 1024)

/* A thread's own. */
typedef struct {
  SnapBtrfsMap *from, *to;
} Maps;

/* One attempt. */
typedef struct {
  const SnapBtrfsDiff *diff;
  gboolean (*compare) (SnapBtrfsPart *part, GError **error);
  GArray *parts;
  GAsyncQueue *maps; /* those that no thread uses */
  guint n_threads;

  /* The sums of all parts: */
  guint64 from_allocated, to_allocated;
  gboolean saw_inline;
} Comparison;

static SnapBtrfsPart *
part_at (const Comparison *self, guint index)
{
  return &g_array_index (self->parts, SnapBtrfsPart, index);
}

static void
part_clear (gpointer data)
{
  SnapBtrfsPart *part = data;

  g_clear_pointer (&part->dirty, snap_extents_unref);
  g_clear_pointer (&part->seen, snap_extents_unref);
}

static void
maps_free (gpointer data)
{
  Maps *maps = data;

  snap_btrfs_map_free (maps->from);
  snap_btrfs_map_free (maps->to);
  g_free (maps);
}

static void
comparison_init (Comparison *self, const SnapBtrfsDiff *diff)
{
  *self = (Comparison){
    .diff = diff,
    .parts = g_array_new (FALSE, FALSE, sizeof (SnapBtrfsPart)),
    .maps = g_async_queue_new_full (maps_free),
    .n_threads = MAX (diff->n_threads, 1),
  };
  g_array_set_clear_func (self->parts, part_clear);
}

static void
comparison_clear (Comparison *self)
{
  g_clear_pointer (&self->parts, g_array_unref);
  g_clear_pointer (&self->maps, g_async_queue_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Comparison, comparison_clear)

/* ---- parts ---- */

static guint64
choose_part_length (const Comparison *self)
{
  guint64 size = MAX (self->diff->from.size, self->diff->to.size);

  if (self->n_threads == 1)
    return G_MAXUINT64;
  return MAX (size / MAX_PARTS, MIN_PART_LENGTH);
}

static void
add_part (Comparison *self, guint64 start, guint64 end, guint64 grown_from)
{
  gboolean is_grown = start >= grown_from;
  const SnapBtrfsPart part = { .diff = self->diff,
                               .start = start,
                               .end = end,
                               .limit = is_grown ? end : grown_from,
                               .is_grown = is_grown,
                               .dirty = snap_extents_new (),
                               .seen = snap_extents_new () };

  g_array_append_val (self->parts, part);
}

/* Where the file has grown begins a part of its own. */
static void
add_parts (Comparison *self, guint64 start, guint64 end)
{
  const SnapBtrfsDiff *diff = self->diff;
  guint64 size = MAX (diff->from.size, diff->to.size);
  guint64 length = choose_part_length (self);
  guint64 grown_from = diff->from.size - diff->from.size % diff->granularity;

  if (diff->from.size >= diff->to.size)
    grown_from = G_MAXUINT64;
  while (start < end) {
    guint64 next = end;

    if (start < size && size - start > length)
      next = MIN (next, start + length);
    if (start < grown_from)
      next = MIN (next, grown_from);
    add_part (self, start, next, grown_from);
    start = next;
  }
}

/* ---- comparing them ---- */

static Maps *
take_maps (const Comparison *self)
{
  const SnapBtrfsDiff *diff = self->diff;
  Maps *maps = g_async_queue_try_pop (self->maps);

  if (maps == NULL) {
    maps = g_new (Maps, 1);
    maps->from = diff->from.map->dup (diff->from.map);
    maps->to = diff->to.map->dup (diff->to.map);
  }
  return maps;
}

/* Several threads need a map each. */
static gboolean
do_part (guint index, gpointer user_data, GError **error)
{
  const Comparison *self = user_data;
  SnapBtrfsPart *part = part_at (self, index);
  Maps *maps;
  gboolean done;

  part->from = self->diff->from.map;
  part->to = self->diff->to.map;
  if (self->n_threads == 1)
    return self->compare (part, error);
  maps = take_maps (self);
  part->from = maps->from;
  part->to = maps->to;
  done = self->compare (part, error);
  g_async_queue_push (self->maps, maps);
  return done;
}

static void
add_up (Comparison *self)
{
  self->from_allocated = self->to_allocated = 0;
  self->saw_inline = FALSE;
  for (guint i = 0; i < self->parts->len; i++) {
    const SnapBtrfsPart *part = part_at (self, i);

    self->from_allocated += part->from_allocated;
    self->to_allocated += part->to_allocated;
    self->saw_inline |= part->saw_inline;
  }
}

static gboolean
compare_parts (Comparison *self,
               gboolean (*compare) (SnapBtrfsPart *part, GError **error),
               GError **error)
{
  self->compare = compare;
  if (!snap_parallel_run (self->n_threads, self->parts->len, do_part, self,
                          error))
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

static gboolean
gather (const Comparison *self, SnapExtents *dirty, GError **error)
{
  for (guint i = 0; i < self->parts->len; i++) {
    const SnapExtents *found = part_at (self, i)->dirty;

    for (gsize j = 0; j < snap_extents_n (found); j++) {
      const SnapExtent *extent = snap_extents_at (found, j);

      if (extent->offset < snap_extents_end (dirty))
        return snap_error_set (error, SNAP_ERROR_CORRUPT,
                               "extent at %" G_GUINT64_FORMAT
                               ": overlaps another",
                               extent->offset);
      snap_extents_append_func (extent, dirty, NULL);
    }
  }
  return TRUE;
}

static SnapExtents *
take_result (const Comparison *self, guint64 offset, guint64 length,
             GError **error)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autoptr (SnapExtents) aligned = NULL;

  if (!gather (self, dirty, error))
    return NULL;
  aligned =
      snap_extents_align (dirty, self->diff->granularity, self->diff->to.size);
  return snap_extents_clip (aligned, offset, length);
}

/* Candidates that one search finds are not worth a second thread. */
static gboolean
choose_threads (Comparison *self, GError **error)
{
  const SnapBtrfsDiff *diff = self->diff;
  SnapBtrfsMap *map = diff->from_is_newer ? diff->from.map : diff->to.map;
  const SnapBtrfsSearch all = { .end = G_MAXUINT64,
                                .min_generation = diff->since };
  g_autoptr (GArray) candidates =
      g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent));
  gboolean more;

  if (self->n_threads == 1)
    return TRUE;
  if (!map->search (map, &all, candidates, &more, error))
    return FALSE;
  if (!more)
    self->n_threads = 1;
  return TRUE;
}

/* *method says why if the result is NULL without an error. */
static SnapExtents *
diff_since (const SnapBtrfsDiff *diff, guint64 offset, guint64 length,
            SnapBtrfsMethod *method, GError **error)
{
  g_auto (Comparison) some = { 0 };

  comparison_init (&some, diff);
  *method = SNAP_BTRFS_BY_CANDIDATES;
  if (!choose_threads (&some, error))
    return NULL;
  add_parts (&some, 0, G_MAXUINT64);
  if (!compare_parts (&some, snap_btrfs_part_compare_since, error)
      || (!is_explained (&some)
          && !compare_parts (&some, snap_btrfs_part_compare_beside, error)))
    return NULL;
  if (is_explained (&some))
    return take_result (&some, offset, length, error);
  *method = SNAP_BTRFS_BY_WALK_UNEXPLAINED;
  return NULL;
}

SnapExtents *
snap_btrfs_diff (const SnapBtrfsDiff *diff, guint64 offset, guint64 length,
                 SnapBtrfsMethod *method, GError **error)
{
  g_auto (Comparison) all = { 0 };
  SnapBtrfsMethod used = SNAP_BTRFS_BY_WALK;
  SnapExtents *dirty = NULL;

  if (diff->since != 0)
    dirty = diff_since (diff, offset, length, &used, error);
  if (method != NULL)
    *method = used;
  if (dirty != NULL || used == SNAP_BTRFS_BY_CANDIDATES)
    return dirty;
  comparison_init (&all, diff);
  add_parts (&all, offset, offset + length);
  if (!compare_parts (&all, snap_btrfs_part_compare_all, error))
    return NULL;
  return take_result (&all, offset, length, error);
}
