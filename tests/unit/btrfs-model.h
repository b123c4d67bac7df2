/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of one file in a copy-on-write tree: leaves of extents, each with
 * the generation that wrote it.  What changes an extent rewrites its leaf; a
 * leaf that becomes empty is gone without a trace.
 */
#ifndef TESTS_UNIT_BTRFS_MODEL_H
#define TESTS_UNIT_BTRFS_MODEL_H

#include "snapshot-core/format/btrfs-diff.h"

#define MODEL_BLOCK 4096
/* Blocks of the largest model file. */
#define MODEL_BLOCKS 4096

typedef struct {
  SnapBtrfsMap map; /* first: the model is one */
  GPtrArray *leaves;
  guint64 generation; /* what is written now gets this one */
  guint64 size;       /* bytes */
  guint max_batch;    /* extents that one search gives at most */
  gint n_searches;
} Model;

Model *model_new (void);
void model_free (Model *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Model, model_free)

/* The same tree, as a snapshot has it. */
Model *model_snapshot (const Model *self);

/* Ranges in blocks.  A hole may be an item or the absence of one. */
void model_write (Model *self, guint64 first, guint64 n);
void model_punch (Model *self, guint64 first, guint64 n);
void model_put_hole (Model *self, guint64 first, guint64 n);
void model_preallocate (Model *self, guint64 first, guint64 n);
void model_share (Model *self, guint64 first, guint64 n, guint64 disk_start);
void model_put_inline (Model *self, guint64 length);
void model_truncate (Model *self, guint64 size);

/* Delete one leaf and nothing beside it. */
void model_drop_leaf (Model *self, guint index);

/* The bytes that its inode counts. */
guint64 model_allocated (const Model *self);

/* It as one side of a diff. */
SnapBtrfsSide model_side (Model *self);

/* What a block reads as: 0 for zeroes, otherwise a number that two blocks
   share only if they show the same. */
guint64 model_content (const Model *self, guint64 block);

#endif
