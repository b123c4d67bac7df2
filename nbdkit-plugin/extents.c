/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbdkit-plugin/extents.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define BLOCK SNAP_EXPORT_BLOCK

/* Some clients refuse an answer with more, though the protocol has room for
   one more. */
#define MAX_EXTENTS (1024 * 1024 - 1)

/*
 * An answer in the making.  Ranges come in ascending and gapless; they go out
 * as whole blocks, neighbours with equal flags merged.
 */
typedef struct {
  struct nbdkit_extents *extents;
  guint64 offset, end; /* of the request */
  guint n_wanted;      /* extents yet to be reported */
  gboolean failed;     /* nbdkit refused one */

  guint64 at;          /* ranges came in up to here */
  guint32 block_flags; /* of the block that @at lies inside of */

  guint64 run_start, run_end; /* whole blocks, not yet reported */
  guint32 run_flags;
} Answer;

static gboolean
wants_more (const Answer *self)
{
  return self->n_wanted > 0 && !self->failed;
}

/* Report what has been merged, cut to the request. */
static void
flush_run (Answer *self)
{
  guint64 start = MAX (self->run_start, self->offset);
  guint64 end = MIN (self->run_end, self->end);

  if (start >= end || !wants_more (self))
    return;
  if (nbdkit_add_extent (self->extents, start, end - start, self->run_flags)
      < 0)
    self->failed = TRUE;
  self->n_wanted--;
}

static void
add_blocks (Answer *self, guint64 end, guint32 flags)
{
  if (flags != self->run_flags) {
    flush_run (self);
    self->run_start = self->run_end;
    self->run_flags = flags;
  }
  self->run_end = end;
}

/*
 * Add [at, end).  Of a block that several ranges share only flags that all of
 * them have are said: fewer bits mean "read it", which is always right.
 */
static void
add_range (Answer *self, guint64 end, guint32 flags)
{
  guint64 whole = end - end % BLOCK;

  if (end <= self->at)
    return;
  if (self->at % BLOCK > 0) {
    guint64 block_end = self->at - self->at % BLOCK + BLOCK;

    self->block_flags &= flags;
    self->at = MIN (block_end, end);
    if (end < block_end)
      return;
    add_blocks (self, block_end, self->block_flags);
  }
  if (whole > self->at)
    add_blocks (self, whole, flags);
  self->block_flags = flags;
  self->at = end;
}

/* ---- what is to be said ---- */

static guint32
allocation_flags (guint32 flags)
{
  return (flags & SNAP_EXTENT_HOLE ? NBDKIT_EXTENT_HOLE : 0)
         | (flags & SNAP_EXTENT_ZERO ? NBDKIT_EXTENT_ZERO : 0);
}

static guint32
dirty_flags (guint32 flags)
{
  return flags & SNAP_EXTENT_ZERO ? NBDKIT_EXTENT_ZERO : 0;
}

/* A SnapExtentFunc; FALSE without an error is "enough". */
static gboolean
add_allocation (const SnapExtent *extent, gpointer answer, GError **error)
{
  add_range (answer, extent->offset + extent->length,
             allocation_flags (extent->flags));
  return wants_more (answer);
}

static gboolean
answer_allocation (Answer *self, SnapExport *export, guint64 end,
                   GError **error)
{
  return snap_export_allocation (export, self->at, end - self->at,
                                 add_allocation, self, error);
}

/*
 * The padding is said to be data, neither clean nor zero: where the base was
 * larger, it holds other bytes there.
 */
static gboolean
answer_dirty (Answer *self, SnapExport *export, guint64 end, GError **error)
{
  const SnapExtents *dirty = snap_export_dirty (export, error);
  gsize n;

  if (dirty == NULL)
    return FALSE;
  n = snap_extents_n (dirty);
  for (gsize i = snap_extents_find (dirty, self->at);
       i < n && self->at < end && wants_more (self); i++) {
    const SnapExtent *extent = snap_extents_at (dirty, i);

    add_range (self, MIN (extent->offset, end), NBDKIT_EXTENT_HOLE);
    add_range (self, MIN (extent->offset + extent->length, end),
               dirty_flags (extent->flags));
  }
  if (wants_more (self)) {
    add_range (self, MIN (snap_export_image_size (export), end),
               NBDKIT_EXTENT_HOLE);
    add_range (self, end, 0);
  }
  return TRUE;
}

/* ---- the answer ---- */

/* The request, grown outward to whole blocks, of which the export consists. */
static void
answer_init (Answer *self, struct nbdkit_extents *extents, guint64 offset,
             guint64 length, gboolean one)
{
  guint64 start = offset - offset % BLOCK;

  *self = (Answer){
    .extents = extents,
    .offset = offset,
    .end = offset + length,
    .n_wanted = one ? 1 : MAX_EXTENTS,
    .at = start,
    .run_start = start,
    .run_end = start,
  };
}

gboolean
plugin_extents (SnapExport *export, guint64 offset, guint64 length,
                gboolean one, struct nbdkit_extents *extents, GError **error)
{
  guint64 past = (offset + length) % BLOCK;
  guint64 end = offset + length + (past > 0 ? BLOCK - past : 0);
  Answer answer;
  gboolean known;

  answer_init (&answer, extents, offset, length, one);
  known = snap_export_is_range (export)
              ? answer_dirty (&answer, export, end, error)
              : answer_allocation (&answer, export, end, error);
  if (!known)
    return FALSE;
  flush_run (&answer);
  if (!answer.failed)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_IO, "%s: nbdkit refused an extent",
                         snap_export_description (export));
}
