/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What our extents become in base:allocation, the one context that nbdkit can
 * offer.
 *
 *   of a snapshot              data 0, hole that reads as zeroes 3
 *   of what changed since BASE clean 1, dirty 0, dirty and known zero 2
 *
 * A clean range is a hole that is not zero: its data is there to read, and no
 * client may take it for zeroes.  The zero bit never stands on a clean range.
 */
#ifndef NBDKIT_PLUGIN_EXTENTS_H
#define NBDKIT_PLUGIN_EXTENTS_H

#include "snapshot-core/service/export.h"

struct nbdkit_extents;

typedef struct {
  guint64 offset, length; /* bytes, inside the export's size */
  gboolean one;           /* the client wants a single extent */
} PluginQuery;

/*
 * Answer a query for a snapshot, or for a range export.  Extents never leave
 * [offset, offset + length): nbdkit up to 1.44 stops on one that does.
 */
gboolean plugin_extents_allocation (SnapExport *handle,
                                    const PluginQuery *query,
                                    struct nbdkit_extents *answer,
                                    GError **error);
gboolean plugin_extents_dirty (SnapExport *handle, const PluginQuery *query,
                               struct nbdkit_extents *answer, GError **error);

#endif
