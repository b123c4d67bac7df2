/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/thin-node.h"

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/crc32c.h"
#include "snapshot-core/base/error.h"

#define MAGIC 27022010

/* The kernel writes 2, the tools that restore metadata 1; all is the same. */
#define MIN_VERSION 1
#define MAX_VERSION 2

#define SECTOR 512
#define METADATA_BLOCK_SECTORS (SNAP_THIN_BLOCK / SECTOR)

/* The kernel's limits: 64 KiB to 1 GiB. */
#define MIN_CHUNK_SECTORS 128
#define MAX_CHUNK_SECTORS (1024 * 1024 * 2)

/* What a checksum is mixed with, so that one kind of block is no other. */
#define SUPERBLOCK_SALT 160774
#define NODE_SALT 121107

#define BAD_CHECKSUM "bad checksum"

#define FLAG_INTERNAL 1
#define FLAG_LEAF 2

/* ---- blocks ---- */

static gboolean
is_sound (const guint8 *bytes, guint32 salt)
{
  SnapBytes cursor = { .at = bytes, .left = sizeof (guint32) };
  guint32 stored = snap_bytes_take_le32 (&cursor);

  return stored
         == (snap_crc32c (G_MAXUINT32, bytes + sizeof stored,
                          SNAP_THIN_BLOCK - sizeof stored)
             ^ salt);
}

static gboolean
refuse (guint64 block, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_CORRUPT,
                         "metadata block %" G_GUINT64_FORMAT ": %s", block,
                         fact);
}

static gboolean
read_block (SnapReader *reader, guint64 block, guint8 *bytes, GError **error)
{
  if (block >= reader->size / SNAP_THIN_BLOCK)
    return refuse (block, "lies outside the metadata", error);
  return snap_reader_read (reader, block * SNAP_THIN_BLOCK, bytes,
                           SNAP_THIN_BLOCK, error);
}

/* ---- the superblock ---- */

static const char *
parse_superblock (const guint8 *bytes, guint64 block, SnapThinSuperblock *super)
{
  SnapBytes cursor = { .at = bytes + 8, .left = SNAP_THIN_BLOCK - 8 };
  guint64 own = snap_bytes_take_le64 (&cursor);
  guint64 magic, version, sectors, block_sectors;

  snap_bytes_take (&cursor, 16); /* a UUID that nobody sets */
  magic = snap_bytes_take_le64 (&cursor);
  version = snap_bytes_take_le32 (&cursor);
  super->time = snap_bytes_take_le32 (&cursor);
  super->transaction_id = snap_bytes_take_le64 (&cursor);
  super->held_root = snap_bytes_take_le64 (&cursor);
  snap_bytes_take (&cursor, 256); /* the two space maps */
  super->mapping_root = snap_bytes_take_le64 (&cursor);
  super->details_root = snap_bytes_take_le64 (&cursor);
  sectors = snap_bytes_take_le32 (&cursor);
  block_sectors = snap_bytes_take_le32 (&cursor);
  super->n_blocks = snap_bytes_take_le64 (&cursor);
  if (magic != MAGIC || version < MIN_VERSION || version > MAX_VERSION)
    return "not a superblock of a version that is known here";
  if (own != block)
    return "says that it is another block";
  if (block_sectors != METADATA_BLOCK_SECTORS || sectors < MIN_CHUNK_SECTORS
      || sectors > MAX_CHUNK_SECTORS || sectors % MIN_CHUNK_SECTORS != 0)
    return "block sizes that no pool has";
  super->chunk_size = (guint32) sectors * SECTOR;
  return NULL;
}

gboolean
snap_thin_superblock_read (SnapReader *reader, guint64 block,
                           SnapThinSuperblock *super, GError **error)
{
  guint8 bytes[SNAP_THIN_BLOCK];
  SnapBytes features = { .at = bytes + 360, .left = sizeof (guint32) };
  const char *fault;

  if (!read_block (reader, block, bytes, error))
    return FALSE;
  if (!is_sound (bytes, SUPERBLOCK_SALT))
    return refuse (block, BAD_CHECKSUM, error);
  fault = parse_superblock (bytes, block, super);
  if (fault != NULL)
    return refuse (block, fault, error);
  if (snap_bytes_take_le32 (&features) != 0)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "metadata: uses a feature that is not known here");
  return TRUE;
}

/* ---- nodes ---- */

guint32
snap_thin_node_find (const SnapThinNode *self, guint64 key)
{
  guint32 low = 0;
  guint32 high = self->n_entries;

  while (high - low > 1) {
    guint32 middle = low + (high - low) / 2;

    if (snap_thin_node_key (self, middle) <= key)
      low = middle;
    else
      high = middle;
  }
  return low;
}

guint32
snap_thin_node_enter (const SnapThinNode *self, guint64 key)
{
  guint32 index = snap_thin_node_find (self, key);
  gboolean is_past = self->is_leaf && self->n_entries > 0
                     && snap_thin_node_key (self, index) < key;

  return index + is_past;
}

static const char *
parse_header (SnapThinNode *node, guint64 block, guint32 value_size)
{
  SnapBytes cursor = { .at = node->bytes + 4,
                       .left = SNAP_THIN_NODE_HEADER - 4 };
  guint32 flags = snap_bytes_take_le32 (&cursor);
  guint64 own = snap_bytes_take_le64 (&cursor);

  node->n_entries = snap_bytes_take_le32 (&cursor);
  node->max_entries = snap_bytes_take_le32 (&cursor);
  node->value_size = snap_bytes_take_le32 (&cursor);
  node->is_leaf = flags == FLAG_LEAF;
  if (own != block)
    return "says that it is another block";
  if (flags != FLAG_LEAF && flags != FLAG_INTERNAL)
    return "neither a leaf nor an internal node";
  if (node->value_size != (node->is_leaf ? value_size : sizeof (guint64)))
    return "a node of another tree";
  if (node->max_entries > SNAP_THIN_BLOCK / sizeof (guint64)
      || SNAP_THIN_NODE_HEADER
                 + node->max_entries * (sizeof (guint64) + node->value_size)
             > SNAP_THIN_BLOCK
      || node->n_entries > node->max_entries)
    return "more entries than fit";
  if (node->n_entries == 0 && !node->is_leaf)
    return "an internal node without entries";
  return NULL;
}

/* Keys that ascend inside the parent's interval: so no walk can meet a node
   twice, and none goes in circles. */
static gboolean
has_good_keys (const SnapThinNode *node, guint64 first, guint64 end)
{
  guint64 least = first;

  for (guint32 i = 0; i < node->n_entries; i++) {
    guint64 key = snap_thin_node_key (node, i);

    if (key < least || key >= end)
      return FALSE;
    least = key + 1;
  }
  return TRUE;
}

gboolean
snap_thin_node_parse (const guint8 *bytes, guint64 block, guint64 first,
                      guint64 end, guint32 value_size, SnapThinNode *node,
                      GError **error)
{
  const char *fault;

  node->bytes = bytes;
  if (!is_sound (bytes, NODE_SALT))
    return refuse (block, BAD_CHECKSUM, error);
  fault = parse_header (node, block, value_size);
  if (fault == NULL && !has_good_keys (node, first, end))
    fault = "keys out of order";
  return fault == NULL || refuse (block, fault, error);
}

gboolean
snap_thin_block_check (SnapReader *reader, const SnapThinSuperblock *super,
                       guint64 block, GError **error)
{
  return (block < super->n_blocks && block < reader->size / SNAP_THIN_BLOCK)
         || refuse (block, "lies outside the metadata", error);
}

gboolean
snap_thin_node_read (SnapReader *reader, const SnapThinSuperblock *super,
                     guint64 block, guint64 first, guint64 end,
                     guint32 value_size, guint8 *bytes, SnapThinNode *node,
                     GError **error)
{
  return snap_thin_block_check (reader, super, block, error)
         && read_block (reader, block, bytes, error)
         && snap_thin_node_parse (bytes, block, first, end, value_size, node,
                                  error);
}
