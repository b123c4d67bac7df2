/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests: a layer as a plain array of what each granule is, which can be
 * written into an image.  What the parser finds must agree with the array.
 */
#ifndef TESTS_UNIT_QCOW2_MODEL_H
#define TESTS_UNIT_QCOW2_MODEL_H

#include "tests/unit/qcow2-image.h"

typedef struct {
  SnapQcow2Kind kind;
  guint64 location; /* DATA: of its first byte; COMPRESSED: the descriptor */
} Qcow2Granule;

typedef struct {
  guint64 size;        /* of the disk, bytes */
  guint64 granularity; /* bytes */
  guint64 per_cluster; /* granules */
  guint64 n;           /* granules, whole clusters */
  Qcow2Granule *granules;
} Qcow2Model;

/* Every granule unallocated. */
Qcow2Model *qcow2_model_new (const SnapQcow2Header *header);
Qcow2Model *qcow2_model_dup (const Qcow2Model *self);
void qcow2_model_free (Qcow2Model *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2Model, qcow2_model_free)

/* Make @n_clusters random clusters something else, of few places in the file,
   so that a change often comes back to a place that was there before. */
void qcow2_model_change (Qcow2Model *self, GRand *random,
                         const SnapQcow2Header *header, guint n_clusters);

/*
 * Write the layer into the image with an L1 table of its own, whose offset is
 * returned.  An L2 table that equals the one of the L1 table @share (if not
 * 0) is shared with it.  COPIED flags are set at random.
 */
guint64 qcow2_model_store (const Qcow2Model *self, Qcow2Image *image,
                           GRand *random, guint64 share);

/* What the byte at @offset is. */
Qcow2Granule qcow2_model_at (const Qcow2Model *self, guint64 offset);

#endif
