/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extents: half-open byte ranges with flags, and lists of them.
 *
 * A list is always sorted, without overlaps, and coalesced: two neighbours
 * that touch differ in their flags.  It may have gaps.  Nothing here does I/O.
 */
#ifndef SNAP_BASE_EXTENTS_H
#define SNAP_BASE_EXTENTS_H

#include <glib.h>

/* Independent bits.  What they become on a wire is the front end's business. */
typedef enum {
  SNAP_EXTENT_HOLE = 1 << 0,  /* nothing is allocated here */
  SNAP_EXTENT_ZERO = 1 << 1,  /* reads as zeroes, known without reading */
  SNAP_EXTENT_DIRTY = 1 << 2, /* changed since the other point */
} SnapExtentFlags;

/* [offset, offset + length), in bytes.  length is never 0 in a list, and
   offset + length never wraps. */
typedef struct {
  guint64 offset;
  guint64 length;
  guint32 flags; /* SnapExtentFlags */
} SnapExtent;

/*
 * Receive one extent.  Calls come in ascending order without overlap; touching
 * neighbours with equal flags may come as several calls.
 *
 * Return FALSE with *error set to make the producer fail with that error.  A
 * producer of which less than everything may be asked says so; it also takes
 * FALSE without an error, as "enough", and succeeds.
 */
typedef gboolean (*SnapExtentFunc) (const SnapExtent *extent,
                                    gpointer user_data, GError **error);

typedef struct _SnapExtents SnapExtents;

SnapExtents *snap_extents_new (void);
SnapExtents *snap_extents_ref (SnapExtents *self);
void snap_extents_unref (SnapExtents *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapExtents, snap_extents_unref)

/*
 * Append a range at or after the end of the list, coalescing with the last.
 *
 * An empty range is ignored.  A range before the end of the list, or one
 * that wraps, is a caller's bug.
 */
void snap_extents_append (SnapExtents *self, guint64 offset, guint64 length,
                          guint32 flags);

/* The same as a SnapExtentFunc; @user_data is the SnapExtents.  Never fails. */
gboolean snap_extents_append_func (const SnapExtent *extent, gpointer user_data,
                                   GError **error);

gsize snap_extents_n (const SnapExtents *self);

/* Borrow element @index, valid until the list changes. */
const SnapExtent *snap_extents_at (const SnapExtents *self, gsize index);

/* The first byte after the last extent; 0 for an empty list. */
guint64 snap_extents_end (const SnapExtents *self);

/* The number of bytes in extents that have every bit of @flags set. */
guint64 snap_extents_bytes (const SnapExtents *self, guint32 flags);

/*
 * Find the index of the first extent that ends after @offset, in O(log n);
 * snap_extents_n() when there is none.
 */
gsize snap_extents_find (const SnapExtents *self, guint64 offset);

/*
 * Walk two lists together.
 *
 * Each step yields the longest next range over which both lists are uniform
 * and at least one has an extent.  has_a/has_b say which.
 */
typedef struct {
  const SnapExtents *a, *b;
  gsize index_a, index_b;
  guint64 at;

  /* Set by each step: */
  guint64 offset, length;
  gboolean has_a, has_b;
  guint32 flags_a, flags_b;
} SnapExtentsPair;

void snap_extents_pair_init (SnapExtentsPair *pair, const SnapExtents *a,
                             const SnapExtents *b);
gboolean snap_extents_pair_next (SnapExtentsPair *pair);

/* New lists; the caller frees.  Flags of overlapping parts are ORed. */
SnapExtents *snap_extents_union (const SnapExtents *a, const SnapExtents *b);
SnapExtents *snap_extents_intersect (const SnapExtents *a,
                                     const SnapExtents *b);

/* A new list with everything outside [offset, offset + length) removed. */
SnapExtents *snap_extents_clip (const SnapExtents *self, guint64 offset,
                                guint64 length);

/*
 * A new list with every extent first clipped to @size, then grown outward to
 * multiples of @granularity, which must not be 0, or to @size.
 *
 * Of a granule that the list touches, the result says HOLE or ZERO only if
 * all of its bytes (those below @size) were in the list and had that flag,
 * and DIRTY if any of them had it.  Time is in the number of extents, not in
 * that of granules.
 */
SnapExtents *snap_extents_align (const SnapExtents *self, guint64 granularity,
                                 guint64 size);

#endif
