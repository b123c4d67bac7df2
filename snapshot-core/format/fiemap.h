/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing two files by where the file system keeps their bytes.
 *
 * Two files that share one place on the disk at the same offset read the same
 * there.  Everything else is a change: what a map does not say for certain
 * (data not yet written, inline, encoded or of an unknown kind) proves nothing.
 *
 * Pure: the maps come from a SnapFiemap, of which os/fiemap makes one that
 * asks the kernel.
 */
#ifndef SNAP_FORMAT_FIEMAP_H
#define SNAP_FORMAT_FIEMAP_H

#include "snapshot-core/base/extents.h"

/* One extent as FIEMAP gives it; bytes.  A gap between two is a hole. */
typedef struct {
  guint64 logical;
  guint64 physical;
  guint64 length;
  guint32 flags; /* FIEMAP_EXTENT_… of linux/fiemap.h */
} SnapFiemapExtent;

/* The map of one file, read once from its beginning. */
typedef struct _SnapFiemap SnapFiemap;

typedef struct {
  /* The next extent, ascending; *more FALSE when there is none. */
  gboolean (*next) (SnapFiemap *self, SnapFiemapExtent *extent, gboolean *more,
                    GError **error);
  void (*free) (SnapFiemap *self);
} SnapFiemapOps;

/* Embedded first in an implementation's own struct. */
struct _SnapFiemap {
  const SnapFiemapOps *ops;
};

void snap_fiemap_free (SnapFiemap *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapFiemap, snap_fiemap_free)

/*
 * Emit what differs in [offset, offset + length): flags DIRTY, and ZERO where
 * @to is a hole or allocated but unwritten.  From @from_size on everything
 * differs.  Memory does not depend on the number of extents.
 *
 * Sound only if, from before both maps were asked for, nothing has written to
 * either file and both are there: what keeps the kernel from giving a place
 * to other data is that both files still refer to it.
 *
 * Errors: CORRUPT (extents overlap, go backwards or wrap), those of the maps,
 * and what @emit sets.
 */
gboolean snap_fiemap_compare (SnapFiemap *from, guint64 from_size,
                              SnapFiemap *to, guint64 offset, guint64 length,
                              SnapExtentFunc emit, gpointer user_data,
                              GError **error);

#endif
