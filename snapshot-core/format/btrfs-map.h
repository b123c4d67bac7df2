/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a file on btrfs has its bytes, read from a tree in pieces, and a
 * cursor that walks it.  Pure: who searches the tree is behind an interface.
 */
#ifndef SNAP_FORMAT_BTRFS_MAP_H
#define SNAP_FORMAT_BTRFS_MAP_H

#include "snapshot-core/format/btrfs-item.h"

/* The extent items of one file in one subvolume. */
typedef struct _SnapBtrfsMap SnapBtrfsMap;

typedef struct {
  guint64 first, end;     /* starts of extents, bytes: [first, end) */
  guint64 min_generation; /* only leaves written since; 0 for all */
  guint n_max;            /* extents; 0 for as many as come at once */
  guint n_likely;         /* about how many there are; 0 if nobody knows */
} SnapBtrfsSearch;

/* Embedded first in an implementation's own struct. */
struct _SnapBtrfsMap {
  /*
   * Append to @extents (of SnapBtrfsExtent) what the search finds, ascending,
   * from the first on.  *more says whether there may be more than was
   * appended; then at least one was.
   */
  gboolean (*search) (SnapBtrfsMap *self, const SnapBtrfsSearch *search,
                      GArray *extents, gboolean *more, GError **error);

  /* The same map for another thread; needed if a diff is to use several. */
  SnapBtrfsMap *(*dup) (SnapBtrfsMap *self);
  void (*free) (SnapBtrfsMap *self);
};

void snap_btrfs_map_free (SnapBtrfsMap *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapBtrfsMap, snap_btrfs_map_free)

/* ---- looking around ---- */

/* The last extent that begins before @offset; *found FALSE if there is none.
   Errors: the map's. */
gboolean snap_btrfs_map_find_before (SnapBtrfsMap *map, guint64 offset,
                                     SnapBtrfsExtent *last, gboolean *found,
                                     GError **error);

/* Where the first extent in [offset, end) begins; @end if there is none.
   Errors: the map's. */
gboolean snap_btrfs_map_find_after (SnapBtrfsMap *map, guint64 offset,
                                    guint64 end, guint64 *start,
                                    GError **error);

/* ---- walking ---- */

/* One that is all zero is at the end of a file without extents. */
typedef struct {
  SnapBtrfsMap *map;
  guint64 end; /* what begins here or later is not looked at */
  guint64 min_generation;
  GArray *extents; /* SnapBtrfsExtent: what was read and is not passed yet */
  guint n_likely;  /* of the next search */
  guint index;     /* the extent at or after the point that was reached */
  guint64 next;    /* where the next search begins */
  gboolean more;
} SnapBtrfsCursor;

/*
 * Start at @start, in the middle of an extent perhaps.  @n_likely is as in
 * SnapBtrfsSearch.  Clear it also after an error.
 *
 * Errors: CORRUPT (extents overlap or go backwards), the map's.
 */
gboolean snap_btrfs_cursor_init (SnapBtrfsCursor *self, SnapBtrfsMap *map,
                                 guint64 start, guint64 end, guint n_likely,
                                 GError **error);

/* The same for extents in leaves that were written since, from the first one
   that begins in [start, end) on. */
gboolean snap_btrfs_cursor_init_since (SnapBtrfsCursor *self, SnapBtrfsMap *map,
                                       guint64 start, guint64 end,
                                       guint64 min_generation, GError **error);
void snap_btrfs_cursor_clear (SnapBtrfsCursor *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (SnapBtrfsCursor, snap_btrfs_cursor_clear)

/* Step over every extent that ends at or before @offset. */
gboolean snap_btrfs_cursor_advance (SnapBtrfsCursor *self, guint64 offset,
                                    GError **error);

/* The extent that the cursor is at; NULL at the end. */
const SnapBtrfsExtent *snap_btrfs_cursor_extent (const SnapBtrfsCursor *self);

/*
 * The extent that @offset, to which the cursor was advanced, lies in; NULL if
 * there is none.  *edge is lowered to where that changes.
 */
const SnapBtrfsExtent *snap_btrfs_cursor_at (const SnapBtrfsCursor *self,
                                             guint64 offset, guint64 *edge);

#endif
