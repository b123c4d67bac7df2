/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to layers: the L2 tables of an image that were used last.
 *
 * Threads: any number.  A table stays valid for as long as its reference is
 * held, whatever the cache drops meanwhile.
 */
#ifndef SNAP_FORMAT_QCOW2_L2_CACHE_H
#define SNAP_FORMAT_QCOW2_L2_CACHE_H

#include "snapshot-core/base/reader.h"

typedef struct _SnapQcow2L2Cache SnapQcow2L2Cache;

/* Keep up to @max_bytes of tables of @table_size bytes; one at least.
   @reader is borrowed. */
SnapQcow2L2Cache *snap_qcow2_l2_cache_new (SnapReader *reader, gsize table_size,
                                           gsize max_bytes);
void snap_qcow2_l2_cache_free (SnapQcow2L2Cache *self);

/* A reference on the table at @offset, read if need be.  Errors: CORRUPT
   (outside the file), IO. */
GBytes *snap_qcow2_l2_cache_get (SnapQcow2L2Cache *self, guint64 offset,
                                 GError **error);

/* How many tables are kept now. */
gsize snap_qcow2_l2_cache_n (SnapQcow2L2Cache *self);

#endif
