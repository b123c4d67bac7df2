/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two results of a tree search, as a broken file system might give them, and
 * the difference of the two files that they describe.
 *
 * Whatever the items say: it ends, and a diff that is given keeps its shape.
 */
#include "config.h"

#include <linux/btrfs_tree.h>
#include <string.h>

#include "snapshot-core/format/btrfs-diff.h"
#include "tests/fuzz/fuzz-target.h"

#define GRANULARITY 4096

/* Before the items: sizes, counts, and where the first file's items end. */
typedef struct {
  guint64 from_size, to_size;
  guint64 from_allocated, to_allocated;
  guint64 since;
  guint16 split;
  guint8 flags;
  guint8 max_batch;
} Head;

typedef struct {
  SnapBtrfsMap map;
  GArray *extents;
  guint max_batch;
} FuzzMap;

/* Every other extent is in an old leaf. */
static gboolean
fuzz_search (SnapBtrfsMap *map, const SnapBtrfsSearch *search, GArray *found,
             gboolean *more, GError **error)
{
  const FuzzMap *self = (FuzzMap *) map;

  *more = FALSE;
  for (guint i = 0; i < self->extents->len && !*more; i++) {
    const SnapBtrfsExtent *extent =
        &g_array_index (self->extents, SnapBtrfsExtent, i);

    if (extent->start < search->first || extent->start >= search->end
        || (search->min_generation != 0 && i % 2 != 0))
      continue;
    g_array_append_val (found, *extent);
    *more = found->len >= self->max_batch || found->len == search->n_max;
  }
  return TRUE;
}

/* What parses of the items in a buffer. */
static GArray *
parse_items (const uint8_t *data, size_t size)
{
  GArray *extents = g_array_new (FALSE, FALSE, sizeof (SnapBtrfsExtent));
  g_autofree uint8_t *copy = size > 0 ? g_memdup2 (data, size) : NULL;
  SnapBytes bytes = { .at = copy, .left = size };
  SnapBtrfsItem item;

  while (snap_btrfs_item_take (&bytes, &item)) {
    SnapBtrfsExtent extent;
    SnapBtrfsInode inode;

    snap_btrfs_inode_parse (&item, &inode, NULL);
    if (snap_btrfs_extent_parse (&item, &extent, NULL))
      g_array_append_val (extents, extent);
  }
  return extents;
}

static void
check_shape (const SnapExtents *dirty, guint64 size)
{
  for (gsize i = 0; i < snap_extents_n (dirty); i++) {
    const SnapExtent *extent = snap_extents_at (dirty, i);
    guint64 end = extent->offset + extent->length;

    g_assert_true ((extent->flags & SNAP_EXTENT_DIRTY) != 0);
    g_assert_cmpuint (extent->offset % GRANULARITY, ==, 0);
    g_assert_true (end % GRANULARITY == 0 || end == size);
    g_assert_cmpuint (end, <=, size);
  }
}

static void
fuzz_free (SnapBtrfsMap *map)
{
  g_free (map);
}

static SnapBtrfsMap *
fuzz_dup (SnapBtrfsMap *map)
{
  FuzzMap *copy = g_memdup2 (map, sizeof (FuzzMap));

  copy->map.free = fuzz_free;
  return &copy->map;
}

/* How it is found out must not change what is found, where the numbers that
   candidates rest on are the true ones. */
static void
run_diff (const SnapBtrfsDiff *diff)
{
  g_autoptr (SnapExtents) dirty =
      snap_btrfs_diff (diff, 0, diff->to.size, NULL, NULL);

  if (dirty != NULL)
    check_shape (dirty, diff->to.size);
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  FuzzMap from = { .map = { .search = fuzz_search, .dup = fuzz_dup } };
  FuzzMap to = from;
  SnapBtrfsDiff diff = { .granularity = GRANULARITY };
  size_t split;
  Head head;

  if (size < sizeof head)
    return 0;
  memcpy (&head, data, sizeof head);
  data += sizeof head;
  size -= sizeof head;
  split = MIN (head.split, size);
  from.extents = parse_items (data, split);
  to.extents = parse_items (data + split, size - split);
  from.max_batch = to.max_batch = 1 + head.max_batch;
  diff.from = (SnapBtrfsSide){ &from.map, head.from_size, head.from_allocated,
                               (head.flags & 4) != 0 };
  diff.to = (SnapBtrfsSide){ &to.map, head.to_size, head.to_allocated,
                             (head.flags & 8) != 0 };
  diff.from_is_newer = head.flags & 1;
  diff.n_threads = head.flags & 2;
  run_diff (&diff);
  diff.since = head.since;
  run_diff (&diff);
  g_array_unref (from.extents);
  g_array_unref (to.extents);
  return 0;
}
