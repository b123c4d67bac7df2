/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/runs.h"

void
snap_nbd_runs_init (SnapNbdRuns *self, guint64 offset, guint64 end,
                    guint64 block, gsize max_extents)
{
  guint64 start = offset - offset % block;

  *self = (SnapNbdRuns){
    .offset = offset,
    .end = end,
    .block = block,
    .max_extents = max_extents,
    .extents = g_array_new (FALSE, FALSE, sizeof (SnapNbdExtent)),
    .at = start,
    .run_start = start,
    .run_end = start,
  };
}

void
snap_nbd_runs_clear (SnapNbdRuns *self)
{
  g_clear_pointer (&self->extents, g_array_unref);
}

guint64
snap_nbd_runs_limit (const SnapNbdRuns *self)
{
  guint64 past = self->end % self->block;

  return self->end + (past > 0 ? self->block - past : 0);
}

gboolean
snap_nbd_runs_want_more (const SnapNbdRuns *self)
{
  return self->extents->len < self->max_extents;
}

/* Say what has been merged, cut to the request. */
static void
flush_run (SnapNbdRuns *self)
{
  guint64 start = MAX (self->run_start, self->offset);
  guint64 end = MIN (self->run_end, self->end);
  const SnapNbdExtent extent = { end - start,
                                 self->run_flags ^ self->inverted };

  if (start < end && snap_nbd_runs_want_more (self))
    g_array_append_val (self->extents, extent);
}

static void
add_blocks (SnapNbdRuns *self, guint64 end, guint32 flags)
{
  if (flags != self->run_flags) {
    flush_run (self);
    self->run_start = self->run_end;
    self->run_flags = flags;
  }
  self->run_end = end;
}

void
snap_nbd_runs_add (SnapNbdRuns *self, guint64 end, guint32 flags)
{
  guint64 whole = end - end % self->block;

  if (end <= self->at)
    return;
  if (self->at % self->block > 0) {
    guint64 block_end = self->at - self->at % self->block + self->block;

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

static guint64
sum_lengths (const SnapNbdRuns *self)
{
  guint64 sum = 0;

  for (guint i = 0; i < self->extents->len; i++)
    sum += g_array_index (self->extents, SnapNbdExtent, i).length;
  return sum;
}

guint64
snap_nbd_runs_finish (SnapNbdRuns *self)
{
  flush_run (self);
  return self->offset + sum_lengths (self);
}

void
snap_nbd_runs_trim (SnapNbdRuns *self, guint64 end)
{
  guint64 left = end - self->offset;

  for (guint i = 0; i < self->extents->len; i++) {
    SnapNbdExtent *extent = &g_array_index (self->extents, SnapNbdExtent, i);

    if (extent->length >= left) {
      extent->length = left;
      g_array_set_size (self->extents, left > 0 ? i + 1 : i);
      return;
    }
    left -= extent->length;
  }
}
