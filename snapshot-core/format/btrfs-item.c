/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-item.h"

#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <stddef.h>
#include <string.h>

#include "snapshot-core/base/error.h"

/* In the flags of an inode; older headers do not have it. */
#define INODE_PREALLOC (1 << 4)

static gboolean
corrupt (const SnapBtrfsItem *item, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_CORRUPT,
                         "item %" G_GUINT64_FORMAT
                         " of type %u at %" G_GUINT64_FORMAT ": %s",
                         item->object_id, item->type, item->offset, fact);
}

gboolean
snap_btrfs_item_take (SnapBytes *buffer, SnapBtrfsItem *item)
{
  struct btrfs_ioctl_search_header header = { 0 };
  const guint8 *bytes = snap_bytes_take (buffer, sizeof header);

  /* The header is in the byte order of this machine, the body little endian. */
  if (bytes != NULL)
    memcpy (&header, bytes, sizeof header);
  item->object_id = header.objectid;
  item->offset = header.offset;
  item->type = header.type;
  item->body = (SnapBytes){ .left = header.len };
  item->body.at = snap_bytes_take (buffer, header.len);
  return !buffer->failed;
}

/* ---- extents ---- */

static gboolean
parse_disk_extent (const SnapBtrfsItem *item,
                   const struct btrfs_file_extent_item *raw,
                   SnapBtrfsExtent *extent, GError **error)
{
  guint8 type = raw->type;

  extent->disk_start = GUINT64_FROM_LE (raw->disk_bytenr);
  extent->disk_length = GUINT64_FROM_LE (raw->disk_num_bytes);
  extent->shift = GUINT64_FROM_LE (raw->offset) - item->offset;
  extent->length = GUINT64_FROM_LE (raw->num_bytes);
  if (extent->disk_start == 0)
    extent->kind = SNAP_BTRFS_HOLE;
  else if (type == BTRFS_FILE_EXTENT_REG)
    extent->kind = SNAP_BTRFS_DATA;
  else if (type == BTRFS_FILE_EXTENT_PREALLOC)
    extent->kind = SNAP_BTRFS_PREALLOC;
  else
    return corrupt (item, "an extent of an unknown type", error);
  return TRUE;
}

/* Millions of these are parsed: the length is checked once, not field by
   field.  What an inline extent has no room for stays zero. */
gboolean
snap_btrfs_extent_parse (const SnapBtrfsItem *item, SnapBtrfsExtent *extent,
                         GError **error)
{
  struct btrfs_file_extent_item raw = { 0 };
  gsize length = MIN (item->body.left, sizeof raw);

  if (length < offsetof (struct btrfs_file_extent_item, disk_bytenr))
    return corrupt (item, "too short", error);
  memcpy (&raw, item->body.at, length);
  *extent = (SnapBtrfsExtent){ .start = item->offset };
  extent->ram_length = GUINT64_FROM_LE (raw.ram_bytes);
  extent->encoding = (guint32) raw.compression << 24 | raw.encryption << 16
                     | GUINT16_FROM_LE (raw.other_encoding);
  if (raw.type == BTRFS_FILE_EXTENT_INLINE) {
    extent->kind = SNAP_BTRFS_INLINE;
    extent->length = extent->ram_length;
  }
  else if (length < sizeof raw)
    return corrupt (item, "too short", error);
  else if (!parse_disk_extent (item, &raw, extent, error))
    return FALSE;
  if (extent->length == 0 || extent->length > G_MAXUINT64 - extent->start)
    return corrupt (item, "has no length, or wraps", error);
  return TRUE;
}

gboolean
snap_btrfs_extent_shares (const SnapBtrfsExtent *a, const SnapBtrfsExtent *b)
{
  return a->kind == SNAP_BTRFS_DATA && b->kind == SNAP_BTRFS_DATA
         && a->disk_start == b->disk_start && a->disk_length == b->disk_length
         && a->ram_length == b->ram_length && a->shift == b->shift
         && a->encoding == b->encoding;
}

/* ---- inodes ---- */

gboolean
snap_btrfs_inode_parse (const SnapBtrfsItem *item, SnapBtrfsInode *inode,
                        GError **error)
{
  SnapBytes body = item->body;

  inode->generation = snap_bytes_take_le64 (&body);
  snap_bytes_take (&body, 8); /* the transaction that changed it last */
  inode->size = snap_bytes_take_le64 (&body);
  inode->allocated = snap_bytes_take_le64 (&body);
  snap_bytes_take (&body, 32); /* block group, links, owner, mode, device */
  inode->may_be_preallocated =
      (snap_bytes_take_le64 (&body) & INODE_PREALLOC) != 0;
  return !body.failed || corrupt (item, "too short", error);
}
