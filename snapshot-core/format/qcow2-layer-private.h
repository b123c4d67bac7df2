/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to layers and diffs: what a layer is made of.
 */
#ifndef SNAP_FORMAT_QCOW2_LAYER_PRIVATE_H
#define SNAP_FORMAT_QCOW2_LAYER_PRIVATE_H

#include "snapshot-core/format/qcow2-l1.h"
#include "snapshot-core/format/qcow2-l2-cache.h"
#include "snapshot-core/format/qcow2-layer.h"

/* Nothing changes after opening but the cache, which locks itself. */
struct _SnapQcow2Layer {
  SnapReader *reader;            /* borrowed */
  const SnapQcow2Header *header; /* borrowed */
  guint64 size;                  /* bytes, at most G_MAXINT64 */
  gboolean active;               /* writes to the image go here */
  SnapQcow2L1 l1;                /* no entry past the size */
  SnapQcow2L2Cache *cache;
};

#endif
