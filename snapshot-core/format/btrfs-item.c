/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/btrfs-item.h"

#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <string.h>

#include "snapshot-core/base/error.h"

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
finish_extent (const SnapBtrfsItem *item, const SnapBytes *body,
               const SnapBtrfsExtent *extent, GError **error)
{
  if (body->failed)
    return corrupt (item, "too short", error);
  if (extent->length == 0 || extent->length > G_MAXUINT64 - extent->start)
    return corrupt (item, "has no length, or wraps", error);
  return TRUE;
}

static gboolean
parse_disk_extent (const SnapBtrfsItem *item, SnapBytes *body, guint8 type,
                   SnapBtrfsExtent *extent, GError **error)
{
  extent->disk_start = snap_bytes_take_le64 (body);
  extent->disk_length = snap_bytes_take_le64 (body);
  extent->shift = snap_bytes_take_le64 (body) - item->offset;
  extent->length = snap_bytes_take_le64 (body);
  if (extent->disk_start == 0)
    extent->kind = SNAP_BTRFS_HOLE;
  else if (type == BTRFS_FILE_EXTENT_REG)
    extent->kind = SNAP_BTRFS_DATA;
  else if (type == BTRFS_FILE_EXTENT_PREALLOC)
    extent->kind = SNAP_BTRFS_PREALLOC;
  else
    return corrupt (item, "an extent of an unknown type", error);
  return finish_extent (item, body, extent, error);
}

gboolean
snap_btrfs_extent_parse (const SnapBtrfsItem *item, SnapBtrfsExtent *extent,
                         GError **error)
{
  SnapBytes body = item->body;
  guint8 compression;
  guint8 encryption;
  const guint8 *other;
  guint8 type;

  *extent = (SnapBtrfsExtent){ .start = item->offset };
  snap_bytes_take (&body, 8); /* the generation it was written in */
  extent->ram_length = snap_bytes_take_le64 (&body);
  compression = snap_bytes_take_u8 (&body);
  encryption = snap_bytes_take_u8 (&body);
  other = snap_bytes_take (&body, 2);
  type = snap_bytes_take_u8 (&body);
  if (body.failed)
    return corrupt (item, "too short", error);
  extent->encoding =
      (guint32) compression << 24 | encryption << 16 | other[1] << 8 | other[0];
  if (type != BTRFS_FILE_EXTENT_INLINE)
    return parse_disk_extent (item, &body, type, extent, error);
  extent->kind = SNAP_BTRFS_INLINE;
  extent->length = extent->ram_length;
  return finish_extent (item, &body, extent, error);
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
  return !body.failed || corrupt (item, "too short", error);
}
