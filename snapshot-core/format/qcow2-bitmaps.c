/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-bitmaps.h"

#include <string.h>

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"

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

  snap_bytes_take_be64 (in); /* where its bits are, */
  snap_bytes_take_be32 (in); /* and how many clusters of them */
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
  self->recording = (flags & FLAG_AUTO) != 0;
  self->foreign = extra_length > 0 && (flags & FLAG_EXTRA_DATA_COMPATIBLE) == 0;
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
