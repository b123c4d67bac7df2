/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/thin-batch.h"

#include "snapshot-core/base/error.h"

/* The most that one read takes: a longer one is no faster. */
#define MAX_RUN_BLOCKS (1024 * 1024 / SNAP_THIN_BLOCK)

/* Blocks that follow each other, and whose they are. */
typedef struct {
  guint64 block;
  guint n_blocks;
  guint slot;       /* where they go, in blocks */
  guint begin, end; /* in by_block */
} Run;

static void
drop_memory (SnapThinBatch *self)
{
  g_clear_pointer (&self->children, g_free);
  g_clear_pointer (&self->nodes, g_free);
  g_clear_pointer (&self->by_block, g_free);
  g_clear_pointer (&self->parts, g_free);
  g_clear_pointer (&self->blocks, g_aligned_free);
}

void
snap_thin_batch_clear (SnapThinBatch *self)
{
  drop_memory (self);
  g_clear_pointer (&self->runs, g_array_unref);
}

void
snap_thin_batch_reset (SnapThinBatch *self, guint room)
{
  self->n = 0;
  if (self->runs == NULL)
    self->runs = g_array_new (FALSE, FALSE, sizeof (Run));
  if (self->room == room)
    return;
  drop_memory (self);
  self->room = room;
  self->children = g_new (SnapThinChild, room);
  self->nodes = g_new (SnapThinNode, room);
  self->by_block = g_new (guint, room);
  self->parts = g_new (SnapReadPart, room);
  self->blocks = g_aligned_alloc (room, SNAP_THIN_BLOCK, SNAP_THIN_BLOCK);
}

/* ---- what lies together ---- */

static int
compare_blocks (gconstpointer a, gconstpointer b, gpointer children)
{
  const SnapThinChild *all = children;
  guint64 one = all[*(const guint *) a].block;
  guint64 other = all[*(const guint *) b].block;

  return (one > other) - (one < other);
}

/* Let @run go on to @block, which is not before its last. */
static gboolean
extend_run (Run *run, guint64 block)
{
  guint64 past = block - run->block;

  if (past > run->n_blocks || past >= MAX_RUN_BLOCKS)
    return FALSE;
  run->n_blocks = (guint) past + 1;
  run->end++;
  return TRUE;
}

static void
find_runs (SnapThinBatch *self)
{
  Run run = { 0 };

  g_array_set_size (self->runs, 0);
  for (guint i = 0; i < self->n; i++)
    self->by_block[i] = i;
  g_qsort_with_data (self->by_block, (gint) self->n, sizeof *self->by_block,
                     compare_blocks, self->children);
  for (guint i = 0; i < self->n; i++) {
    guint64 block = self->children[self->by_block[i]].block;

    if (i > 0 && extend_run (&run, block))
      continue;
    if (i > 0)
      g_array_append_val (self->runs, run);
    run = (Run){ block, 1, run.slot + run.n_blocks, i, i + 1 };
  }
  if (self->n > 0)
    g_array_append_val (self->runs, run);
}

/* ---- reading ---- */

static gboolean
parse_child (SnapThinBatch *self, guint index, const guint8 *bytes,
             GError **error)
{
  const SnapThinChild *child = &self->children[index];
  SnapThinNode *node = &self->nodes[index];

  if (!snap_thin_node_parse (bytes, child->block, child->first, child->limit,
                             self->value_size, node, error))
    return FALSE;
  return node->is_leaf == self->are_leaves
         || snap_error_set (error, SNAP_ERROR_CORRUPT,
                            "metadata block %" G_GUINT64_FORMAT
                            ": leaves at different depths",
                            child->block);
}

static gboolean
parse_run (guint index, gpointer batch, GError **error)
{
  SnapThinBatch *self = batch;
  const Run *run = &g_array_index (self->runs, Run, index);
  const guint8 *at = self->parts[index].buffer;

  for (guint i = run->begin; i < run->end; i++) {
    guint child = self->by_block[i];
    guint64 past = self->children[child].block - run->block;

    if (!parse_child (self, child, at + past * SNAP_THIN_BLOCK, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
plan_read (SnapThinBatch *self, const Run *run, SnapReadPart *part,
           GError **error)
{
  *part = (SnapReadPart){ run->block * SNAP_THIN_BLOCK,
                          (guint64) run->n_blocks * SNAP_THIN_BLOCK,
                          self->blocks + (gsize) run->slot * SNAP_THIN_BLOCK };
  return snap_thin_block_check (self->reader, self->super,
                                run->block + run->n_blocks - 1, error);
}

gboolean
snap_thin_batch_read (SnapThinBatch *self, GError **error)
{
  find_runs (self);
  for (guint i = 0; i < self->runs->len; i++)
    if (!plan_read (self, &g_array_index (self->runs, Run, i), &self->parts[i],
                    error))
      return FALSE;
  return snap_reader_read_many (self->reader, self->parts, self->runs->len,
                                parse_run, self, error);
}
