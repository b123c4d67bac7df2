/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/thin-level.h"

#include <string.h>

/* The first batch is small, so that a small walk is done soon; each is twice
   the one before. */
#define FIRST_BATCH 512

/* A level of inner nodes has this part of the memory of the leaves. */
#define INNER_SHARE 8

/* Batches of leaves: one is walked while the others are read. */
#define N_BATCHES 3

typedef struct {
  SnapThinBatch batch;
  GThread *thread; /* reads it; NULL: it is read when it is wanted */
  GError *error;   /* of the thread */
} Slot;

struct _SnapThinLevel {
  const SnapThinTrees *trees;
  guint number;         /* 0 is that of the leaves */
  SnapThinLevel *above; /* NULL at the higher root */

  Slot slots[N_BATCHES];
  guint n_slots;        /* of use */
  guint planned, taken; /* batches, since the start */
  gboolean all_planned;
  guint room, max_batch; /* nodes, of the next one and of any */

  const SnapThinBatch *current;
  guint at; /* the next of its nodes */
  SnapThinSide sides[SNAP_THIN_N_SIDES];
};

/* ---- the children of a level ---- */

/* Two entries with one child are equal, whatever is below. */
static void
skip_shared (SnapThinSide *sides)
{
  SnapThinSide *from = &sides[SNAP_THIN_FROM];
  SnapThinSide *to = &sides[SNAP_THIN_TO];

  while (from->index < from->n && to->index < to->n
         && snap_thin_side_value (from) == snap_thin_side_value (to)) {
    from->index++;
    to->index++;
  }
}

static SnapThinSide *
lower_side (SnapThinSide *sides)
{
  return snap_thin_side_key (&sides[SNAP_THIN_TO])
                 < snap_thin_side_key (&sides[SNAP_THIN_FROM])
             ? &sides[SNAP_THIN_TO]
             : &sides[SNAP_THIN_FROM];
}

/* *found is FALSE at the end. */
static gboolean
next_child (SnapThinLevel *self, SnapThinChild *child, gboolean *found,
            GError **error)
{
  guint64 limit;
  SnapThinSide *sides = snap_thin_level_settle (self, &limit, error);
  SnapThinSide *side;

  if (sides == NULL)
    return FALSE;
  *found = limit > 0;
  if (!*found)
    return TRUE;
  side = lower_side (sides);
  *child = (SnapThinChild){
    .block = snap_thin_side_value (side),
    .first = snap_thin_side_key (side),
    .limit = snap_thin_node_limit (&side->node, side->index, side->limit),
    .side = (guint) (side - sides),
  };
  side->index++;
  return TRUE;
}

/* ---- batches ---- */

/* The roots that are on this level come before all that is below others. */
static void
add_roots (SnapThinLevel *self, SnapThinBatch *batch)
{
  const SnapThinTrees *trees = self->trees;

  for (guint side = 0; side < SNAP_THIN_N_SIDES; side++)
    if (trees->height[side] == self->number + 1)
      batch->children[batch->n++] =
          (SnapThinChild){ trees->root[side], 0, G_MAXUINT64, side };
}

static gboolean
add_children (SnapThinLevel *self, SnapThinBatch *batch, GError **error)
{
  gboolean found = self->above != NULL;

  while (found && batch->n < batch->room) {
    if (!next_child (self->above, &batch->children[batch->n], &found, error))
      return FALSE;
    batch->n += found;
  }
  self->all_planned = !found;
  return TRUE;
}

static gpointer
read_slot (gpointer user_data)
{
  Slot *slot = user_data;

  snap_thin_batch_read (&slot->batch, &slot->error);
  return NULL;
}

/* Where no thread can be had, nothing is read ahead. */
static gboolean
plan_batch (SnapThinLevel *self, GError **error)
{
  Slot *slot = &self->slots[self->planned % self->n_slots];

  snap_thin_batch_reset (&slot->batch, self->room);
  if (self->planned == 0)
    add_roots (self, &slot->batch);
  if (!add_children (self, &slot->batch, error))
    return FALSE;
  self->room = MIN (self->room * 2, self->max_batch);
  if (self->n_slots > 1 && !(self->planned == 0 && self->all_planned))
    slot->thread = g_thread_try_new ("ahead", read_slot, slot, NULL);
  self->planned++;
  return TRUE;
}

static gboolean
take_batch (SnapThinLevel *self, GError **error)
{
  Slot *slot = &self->slots[self->taken++ % self->n_slots];

  if (slot->thread != NULL)
    g_thread_join (g_steal_pointer (&slot->thread));
  else
    read_slot (slot);
  self->current = &slot->batch;
  self->at = 0;
  if (slot->error == NULL)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&slot->error));
  return FALSE;
}

/* The first key of the next node, G_MAXUINT64 at the end. */
static gboolean
find_next (SnapThinLevel *self, guint64 *first, GError **error)
{
  if (self->current == NULL || self->at == self->current->n) {
    while (!self->all_planned && self->planned < self->taken + self->n_slots)
      if (!plan_batch (self, error))
        return FALSE;
    if (self->taken < self->planned && !take_batch (self, error))
      return FALSE;
  }
  *first = self->at < self->current->n ? self->current->children[self->at].first
                                       : G_MAXUINT64;
  return TRUE;
}

/* ---- the two sides ---- */

/* The node before it on its side is done: its keys were all below.  A copy,
   because this one may stand for longer than the batch. */
static void
stand_on_next (SnapThinLevel *self)
{
  const SnapThinChild *child = &self->current->children[self->at];
  SnapThinSide *side = &self->sides[child->side];

  side->node = self->current->nodes[self->at];
  memcpy (side->block, side->node.bytes, SNAP_THIN_BLOCK);
  side->node.bytes = side->block;
  side->limit = child->limit;
  side->index = snap_thin_node_enter (&side->node, self->trees->begin);
  side->n = side->node.n_entries;
  while (side->n > side->index
         && snap_thin_node_key (&side->node, side->n - 1) >= self->trees->end)
    side->n--;
  self->at++;
}

SnapThinSide *
snap_thin_level_settle (SnapThinLevel *self, guint64 *limit, GError **error)
{
  for (;;) {
    guint64 key, next;

    if (self->number > 0)
      skip_shared (self->sides);
    key = snap_thin_side_key (lower_side (self->sides));
    if (!find_next (self, &next, error))
      return NULL;
    if (key < next || next == G_MAXUINT64) {
      *limit = key < next ? next : 0;
      return self->sides;
    }
    stand_on_next (self);
  }
}

/* ---- all levels ---- */

static SnapThinLevel *
level_new (const SnapThinTrees *trees, guint number)
{
  SnapThinLevel *self = g_new0 (SnapThinLevel, 1);
  guint height =
      MAX (trees->height[SNAP_THIN_FROM], trees->height[SNAP_THIN_TO]);

  self->trees = trees;
  self->number = number;
  self->max_batch =
      MAX (number == 0 ? trees->max_batch : trees->max_batch / INNER_SHARE,
           SNAP_THIN_N_SIDES);
  self->room = MIN (FIRST_BATCH, self->max_batch);
  self->n_slots = number == 0 ? N_BATCHES : 1;
  for (guint i = 0; i < self->n_slots; i++)
    self->slots[i].batch = (SnapThinBatch){ .reader = trees->reader,
                                            .super = trees->super,
                                            .value_size = trees->value_size,
                                            .are_leaves = number == 0 };
  for (guint i = 0; i < SNAP_THIN_N_SIDES; i++)
    self->sides[i].block = g_malloc (SNAP_THIN_BLOCK);
  if (number + 1 < height)
    self->above = level_new (trees, number + 1);
  return self;
}

SnapThinLevel *
snap_thin_leaves_new (const SnapThinTrees *trees)
{
  return level_new (trees, 0);
}

void
snap_thin_level_free (SnapThinLevel *self)
{
  if (self == NULL)
    return;
  for (guint i = 0; i < N_BATCHES; i++) {
    if (self->slots[i].thread != NULL)
      g_thread_join (self->slots[i].thread);
    g_clear_error (&self->slots[i].error);
    snap_thin_batch_clear (&self->slots[i].batch);
  }
  for (guint i = 0; i < SNAP_THIN_N_SIDES; i++)
    g_free (self->sides[i].block);
  snap_thin_level_free (self->above);
  g_free (self);
}
