/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-bitmaps.h"

#include <string.h>

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"

/* ---- the directory ---- */

#define FLAG_IN_USE (1 << 0)
#define FLAG_AUTO (1 << 1)
#define FLAG_EXTRA_DATA_COMPATIBLE (1 << 2)
#define FLAGS_KNOWN 0x7

#define TYPE_DIRTY_TRACKING 1

/* As in QEMU's block/qcow2-bitmap.c. */
#define MIN_GRANULARITY_BITS 9
#define MAX_GRANULARITY_BITS 31
#define MAX_NAME_BYTES 1023

static gboolean
corrupt (GError **error, const char *fact)
{
  return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s", fact);
}

static void
bitmap_free (SnapQcow2Bitmap *self)
{
  g_free (self->name);
  g_free (self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapQcow2Bitmap, bitmap_free)

static gboolean
take_name (SnapQcow2Bitmap *self, SnapBytes *in, guint16 length, GError **error)
{
  const guint8 *at = snap_bytes_take (in, length);

  if (at == NULL)
    return corrupt (error, "the directory ends inside an entry");
  if (length == 0 || length > MAX_NAME_BYTES || memchr (at, '\0', length))
    return corrupt (error, "a name is no text or too long");
  self->name = g_strndup ((const char *) at, length);
  return TRUE;
}

static SnapQcow2Bitmap *
take_bitmap (SnapBytes *in, GError **error)
{
  g_autoptr (SnapQcow2Bitmap) self = g_new0 (SnapQcow2Bitmap, 1);
  guint32 flags, extra_length;
  guint8 type, granularity_bits;
  guint16 name_length;

  self->table_offset = snap_bytes_take_be64 (in);
  self->table_size = snap_bytes_take_be32 (in);
  flags = snap_bytes_take_be32 (in);
  type = snap_bytes_take_u8 (in);
  granularity_bits = snap_bytes_take_u8 (in);
  name_length = snap_bytes_take_be16 (in);
  extra_length = snap_bytes_take_be32 (in);
  snap_bytes_take (in, extra_length);
  if (!take_name (self, in, name_length, error))
    return NULL;
  if (type != TYPE_DIRTY_TRACKING || (flags & ~(guint32) FLAGS_KNOWN) != 0
      || granularity_bits < MIN_GRANULARITY_BITS
      || granularity_bits > MAX_GRANULARITY_BITS) {
    corrupt (error, "unknown type or flags, or granularity out of range");
    return NULL;
  }
  self->in_use = (flags & FLAG_IN_USE) != 0;
  self->foreign = extra_length > 0 && (flags & FLAG_EXTRA_DATA_COMPATIBLE) == 0;
  self->granularity = G_GUINT64_CONSTANT (1) << granularity_bits;
  return g_steal_pointer (&self);
}

static gboolean
read_directory (SnapReader *reader, const SnapQcow2Header *header,
                GPtrArray *bitmaps, GError **error)
{
  g_autoptr (GBytes) bytes = snap_reader_read_bytes (
      reader, header->bitmaps_offset, header->bitmaps_size, error);
  SnapBytes in = { 0 };
  const guint8 *start;

  if (bytes == NULL)
    return FALSE;
  start = in.at = g_bytes_get_data (bytes, &in.left);
  for (guint32 i = 0; i < header->n_bitmaps; i++) {
    SnapQcow2Bitmap *bitmap = take_bitmap (&in, error);

    if (bitmap == NULL)
      return FALSE;
    g_ptr_array_add (bitmaps, bitmap);
    snap_bytes_align (&in, start, 8);
  }
  if (in.failed || in.left > 0)
    return corrupt (error, "the directory's size and its entries disagree");
  return TRUE;
}

GPtrArray *
snap_qcow2_bitmaps_read (SnapReader *reader, const SnapQcow2Header *header,
                         GError **error)
{
  g_autoptr (GPtrArray) bitmaps =
      g_ptr_array_new_with_free_func ((GDestroyNotify) bitmap_free);

  if (header->n_bitmaps > 0
      && !read_directory (reader, header, bitmaps, error)) {
    g_prefix_error (error, "bitmap directory: ");
    return NULL;
  }
  return g_steal_pointer (&bitmaps);
}

/* ---- the bits ---- */

/* An entry of a bitmap's table: a cluster of bits, or what all of them are. */
#define TABLE_OFFSET G_GUINT64_CONSTANT (0x00fffffffffffe00)
#define TABLE_ALL_ONES G_GUINT64_CONSTANT (1)
#define TABLE_RESERVED (~(TABLE_OFFSET | TABLE_ALL_ONES))

typedef struct {
  SnapReader *reader;
  const SnapQcow2Header *header;
  guint64 granularity;
  guint8 *cluster;   /* room for one */
  GHashTable *taken; /* offsets of the clusters that were read */
  SnapExtents *dirty;
} Bits;

static gboolean
append_bits (Bits *bits, guint64 base, guint64 first, guint64 n, GError **error)
{
  guint64 offset = base + first * bits->granularity;
  guint64 length = MIN (n * bits->granularity, bits->header->size - offset);

  snap_extents_append (bits->dirty, offset, length, SNAP_EXTENT_DIRTY);
  if (snap_extents_n (bits->dirty) <= SNAP_QCOW2_MAX_BITMAP_EXTENTS)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "more than %d dirty extents",
                         SNAP_QCOW2_MAX_BITMAP_EXTENTS);
}

/* Append the runs of ones among the first @n_bits, least significant bit of
   each byte first. */
static gboolean
scan_cluster (Bits *bits, guint64 base, guint64 n_bits, GError **error)
{
  guint64 at = 0;

  while (at < n_bits) {
    guint64 word = 0, left = MIN (64 - at % 64, n_bits - at);
    guint64 n;

    memcpy (&word, bits->cluster + at / 64 * 8, sizeof word);
    word = GUINT64_FROM_LE (word) >> (at % 64);
    if ((word & 1) == 0) {
      at += word == 0 ? left : MIN (left, (guint) __builtin_ctzll (word));
      continue;
    }
    n = ~word == 0 ? left : MIN (left, (guint) __builtin_ctzll (~word));
    if (!append_bits (bits, base, at, n, error))
      return FALSE;
    at += n;
  }
  return TRUE;
}

/* No two entries may share a cluster: a table that points to one cluster over
   and over would keep us busy for longer than its file is large. */
static gboolean
read_cluster (Bits *bits, guint64 offset, guint64 n_bits, GError **error)
{
  gint64 key = offset;

  if (g_hash_table_contains (bits->taken, &key))
    return corrupt (error, "a cluster is used twice");
  g_hash_table_add (bits->taken, g_memdup2 (&key, sizeof key));
  return snap_reader_read (bits->reader, offset, bits->cluster,
                           (n_bits + 7) / 8, error);
}

/* Append what one table entry says about the disk from @base on. */
static gboolean
append_entry (Bits *bits, guint64 entry, guint64 base, guint64 n_bits,
              GError **error)
{
  guint64 offset = entry & TABLE_OFFSET;

  if ((entry & TABLE_RESERVED) != 0 || offset % bits->header->cluster_size != 0
      || (offset != 0 && (entry & TABLE_ALL_ONES)))
    return corrupt (error, "a table entry breaks the format");
  if (entry == TABLE_ALL_ONES)
    return append_bits (bits, base, 0, n_bits, error);
  if (offset == 0)
    return TRUE;
  return read_cluster (bits, offset, n_bits, error)
         && scan_cluster (bits, base, n_bits, error);
}

/* Bits in one cluster, and the bytes of the disk they stand for. */
static guint64
bits_per_cluster (const Bits *bits)
{
  return bits->header->cluster_size * 8;
}

static guint64
divide_up (guint64 a, guint64 b)
{
  return a / b + (a % b != 0);
}

static gboolean
append_table (Bits *bits, const SnapQcow2Bitmap *bitmap, GError **error)
{
  guint64 n_bits = divide_up (bits->header->size, bits->granularity);
  guint64 n_entries = divide_up (n_bits, bits_per_cluster (bits));
  g_autoptr (GBytes) table = NULL;
  const guint8 *entries;

  if (n_entries > bitmap->table_size)
    return corrupt (error, "the table is too small for the disk");
  if (bitmap->table_offset % bits->header->cluster_size != 0)
    return corrupt (error, "the table is unaligned");
  table = snap_reader_read_bytes (bits->reader, bitmap->table_offset,
                                  n_entries * 8, error);
  if (table == NULL)
    return FALSE;
  entries = g_bytes_get_data (table, NULL);
  for (guint64 i = 0; i < n_entries; i++) {
    guint64 first = i * bits_per_cluster (bits);

    if (!append_entry (bits, snap_bytes_be64_at (entries, i),
                       first * bits->granularity,
                       MIN (n_bits - first, bits_per_cluster (bits)), error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
check_trustworthy (const SnapQcow2Header *header, const SnapQcow2Bitmap *bitmap,
                   GError **error)
{
  const char *why = NULL;

  if (header->bitmaps_stale)
    why = "the image was written to without regard to its bitmaps";
  else if (bitmap->in_use)
    why = "in use: it was not stored when the image was closed";
  else if (bitmap->foreign)
    why = "it has extra data of unknown meaning";
  if (why == NULL)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "bitmap %s: %s",
                         bitmap->name, why);
}

SnapExtents *
snap_qcow2_bitmap_extents (SnapReader *reader, const SnapQcow2Header *header,
                           const SnapQcow2Bitmap *bitmap, GError **error)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();
  g_autoptr (GHashTable) taken =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  g_autofree guint8 *cluster = g_malloc0 (header->cluster_size);
  Bits bits = { .reader = reader,
                .header = header,
                .granularity = bitmap->granularity,
                .cluster = cluster,
                .taken = taken,
                .dirty = dirty };

  if (!check_trustworthy (header, bitmap, error))
    return NULL;
  if (!append_table (&bits, bitmap, error)) {
    g_prefix_error (error, "bitmap %s: ", bitmap->name);
    return NULL;
  }
  return g_steal_pointer (&dirty);
}
