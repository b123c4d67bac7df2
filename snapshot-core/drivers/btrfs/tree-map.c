/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <linux/btrfs_tree.h>

#include "snapshot-core/os/btrfs-ioctl.h"

/* Room for some 1300 extents at once.  Larger is not faster: a search costs
   little, and the kernel first looks whether it may write to every page. */
#define BUFFER_LENGTH (112 * 1024)

/* The item of an extent with its header, and more than any but the first
   extent of a file can have: only that one can be inline. */
#define ITEM_LENGTH 85
#define MAX_NEXT_ITEM (4 * 1024)

typedef struct {
  SnapBtrfsMap parent;
  int fd; /* borrowed */
  guint64 inode_number;
  guint8 *buffer; /* NULL before the first search */
} TreeMap;

static gboolean
take_extents (SnapBytes *found, guint32 n, GArray *extents, GError **error)
{
  guint first = extents->len;

  g_array_set_size (extents, first + n);
  for (guint32 i = 0; i < n; i++) {
    SnapBtrfsItem item;

    if (!snap_btrfs_item_take (found, &item))
      return snap_error_set (error, SNAP_ERROR_CORRUPT,
                             "tree search: the result is cut off");
    if (!snap_btrfs_extent_parse (
            &item, &g_array_index (extents, SnapBtrfsExtent, first + i), error))
      return FALSE;
  }
  return TRUE;
}

/* As much of the buffer as is likely to be needed. */
static gsize
choose_length (const SnapBtrfsSearch *search)
{
  guint64 n = search->n_max != 0 ? search->n_max : search->n_likely;
  guint64 length =
      SNAP_BTRFS_REQUEST + MAX_NEXT_ITEM + (n + n / 4) * ITEM_LENGTH;

  if (n == 0 || search->first == 0)
    return BUFFER_LENGTH;
  return (gsize) MIN (length, BUFFER_LENGTH);
}

static gboolean
tree_map_search (SnapBtrfsMap *map, const SnapBtrfsSearch *search,
                 GArray *extents, gboolean *more, GError **error)
{
  TreeMap *self = (TreeMap *) map;
  const SnapBtrfsTreeSearch request = {
    .object_id = self->inode_number,
    .type = BTRFS_EXTENT_DATA_KEY,
    .first_offset = search->first,
    .last_offset = search->end - 1,
    .min_generation = search->min_generation,
    .n_max = search->n_max != 0 ? search->n_max : G_MAXUINT32,
  };
  SnapBytes found;
  gsize length;
  guint32 n;

  *more = FALSE;
  if (search->first >= search->end)
    return TRUE;
  if (self->buffer == NULL)
    self->buffer = g_malloc (BUFFER_LENGTH);
  length = choose_length (search);
  if (!snap_btrfs_search (self->fd, &request, self->buffer, length, &found, &n,
                          error)
      || !take_extents (&found, n, extents, error))
    return FALSE;
  *more = n == request.n_max || found.left < MAX_NEXT_ITEM;
  return TRUE;
}

static SnapBtrfsMap *
tree_map_dup (SnapBtrfsMap *map)
{
  TreeMap *self = (TreeMap *) map;

  return btrfs_tree_map_new (self->fd, self->inode_number);
}

SnapBtrfsMap *
btrfs_tree_map_new (int fd, guint64 inode_number)
{
  TreeMap *self = g_new0 (TreeMap, 1);

  self->parent.search = tree_map_search;
  self->parent.dup = tree_map_dup;
  self->parent.free = btrfs_tree_map_free;
  self->fd = fd;
  self->inode_number = inode_number;
  return &self->parent;
}

void
btrfs_tree_map_free (SnapBtrfsMap *map)
{
  TreeMap *self = (TreeMap *) map;

  if (self == NULL)
    return;
  g_free (self->buffer);
  g_free (self);
}

gboolean
btrfs_read_inode (int fd, guint64 inode_number, SnapBtrfsInode *inode,
                  GError **error)
{
  const SnapBtrfsTreeSearch request = { .object_id = inode_number,
                                        .type = BTRFS_INODE_ITEM_KEY,
                                        .last_offset = G_MAXUINT64,
                                        .n_max = 1 };
  SNAP_BTRFS_BUFFER (buffer, 1024);
  SnapBtrfsItem item;
  SnapBytes found;
  guint32 n;

  if (!snap_btrfs_search (fd, &request, buffer, sizeof buffer, &found, &n,
                          error))
    return FALSE;
  if (n != 1 || !snap_btrfs_item_take (&found, &item))
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "inode %" G_GUINT64_FORMAT ": is not in its tree",
                           inode_number);
  return snap_btrfs_inode_parse (&item, inode, error);
}
