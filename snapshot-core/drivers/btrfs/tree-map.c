/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <linux/btrfs_tree.h>

#include "snapshot-core/os/btrfs-ioctl.h"

/* Room for some 550 extents at once.  Larger is not faster: a search costs
   little, and the kernel first looks whether it may write to every page. */
#define BUFFER_LENGTH (48 * 1024 + SNAP_BTRFS_MAX_ITEM)

typedef struct {
  SnapBtrfsMap parent;
  int fd; /* borrowed */
  guint64 inode_number;
  guint8 *buffer;
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
  guint32 n;

  *more = FALSE;
  if (search->first >= search->end)
    return TRUE;
  if (!snap_btrfs_search (self->fd, &request, self->buffer, BUFFER_LENGTH,
                          &found, &n, error)
      || !take_extents (&found, n, extents, error))
    return FALSE;
  *more = n == request.n_max || found.left < SNAP_BTRFS_MAX_ITEM;
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
  self->buffer = g_malloc (BUFFER_LENGTH);
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
  g_autofree guint8 *buffer = g_malloc (BUFFER_LENGTH);
  SnapBtrfsItem item;
  SnapBytes found;
  guint32 n;

  if (!snap_btrfs_search (fd, &request, buffer, BUFFER_LENGTH, &found, &n,
                          error))
    return FALSE;
  if (n != 1 || !snap_btrfs_item_take (&found, &item))
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "inode %" G_GUINT64_FORMAT ": is not in its tree",
                           inode_number);
  return snap_btrfs_inode_parse (&item, inode, error);
}
