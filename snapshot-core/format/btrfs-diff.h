/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What differs between one file in two snapshots, told from where its bytes
 * lie.  Pure.
 *
 * Walking the extents of both sides is always right: two extents that name
 * the same bytes on the disk read the same.  It takes time in the number of
 * extents.
 *
 * Where the newer snapshot descends from the older one, most of that can be
 * left out.  A leaf of its tree that was written before the older cut was in
 * the older tree too, with all its items.  So whatever the newer file has and
 * the older one has not lies in leaves written since: the candidates, which
 * the tree finds fast.  What the newer file has lost, by a hole or a
 * truncation, may show in no leaf; but it shows in the number of allocated
 * bytes.  The candidates' ranges are compared as above; for all the rest the
 * newer file's extents are the older one's or missing, and if both inodes
 * count the same bytes there, none is missing.  If they do not, the gaps
 * beside the candidates are compared too, since a hole leaves traces on both
 * sides of it as a rule; and if the bytes still do not add up, both sides are
 * walked after all.
 *
 * Either way takes about the same time for each extent that it looks at, so
 * however much has changed, the candidates are tried first.
 */
#ifndef SNAP_FORMAT_BTRFS_DIFF_H
#define SNAP_FORMAT_BTRFS_DIFF_H

#include "snapshot-core/base/extents.h"
#include "snapshot-core/format/btrfs-map.h"

typedef struct {
  SnapBtrfsMap *map;
  guint64 size;      /* bytes */
  guint64 allocated; /* as its inode says, bytes */

  /* Nothing was ever preallocated, and its bytes are as many as it is long: if
     it has none behind its end, it is data from the start to the end. */
  gboolean looks_full;
} SnapBtrfsSide;

typedef struct {
  SnapBtrfsSide from, to;
  guint64 granularity; /* of the file system, bytes */

  /*
   * The generation of the older cut plus one, if the newer side descends
   * from the older and neither was changed since it was cut; otherwise 0.
   */
  guint64 since;
  gboolean from_is_newer;

  guint n_threads; /* 0 is 1; more than one need maps that can be duplicated */
} SnapBtrfsDiff;

/* How it was found out; for tests and benchmarks. */
typedef enum {
  SNAP_BTRFS_BY_CANDIDATES,
  SNAP_BTRFS_BY_WALK,             /* nothing else was possible */
  SNAP_BTRFS_BY_WALK_UNEXPLAINED, /* the bytes did not add up */
} SnapBtrfsMethod;

/*
 * The dirty extents of [offset, offset + length) of the "to" side: flags
 * DIRTY, and ZERO where it reads as zeroes by its metadata; aligned outward
 * to the granularity.  The range itself must be aligned or end at the size.
 *
 * The caller frees.  @method may be NULL.  Errors: CORRUPT, the maps'.
 */
SnapExtents *snap_btrfs_diff (const SnapBtrfsDiff *diff, guint64 offset,
                              guint64 length, SnapBtrfsMethod *method,
                              GError **error);

#endif
