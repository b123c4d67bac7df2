/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-header.h"

#include <string.h>

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"

#define MAGIC 0x514649fb /* "QFI\xfb" */

/* The parts of the header that every image of that version has. */
#define V2_BYTES 72
#define V3_BYTES 104

/* Where the first optional field lies. */
#define COMPRESSION_TYPE_AT 104

#define INCOMPATIBLE_DIRTY (1 << 0)
#define INCOMPATIBLE_CORRUPT (1 << 1)
#define INCOMPATIBLE_DATA_FILE (1 << 2)
#define INCOMPATIBLE_COMPRESSION (1 << 3)
#define INCOMPATIBLE_EXTENDED_L2 (1 << 4)
#define INCOMPATIBLE_KNOWN 0x1f

#define AUTOCLEAR_BITMAPS (1 << 0)

#define MAX_CRYPT_METHOD 2
#define MAX_COMPRESSION_TYPE 1
#define MAX_REFCOUNT_ORDER 6
#define MAX_BACKING_FILE_BYTES 1023
#define MAX_BACKING_FORMAT_BYTES 15

/* A subcluster is at least the smallest cluster. */
#define MIN_EXTENDED_L2_CLUSTER_BITS 14

enum {
  EXTENSION_END = 0,
  EXTENSION_BITMAPS = 0x23852875,
  EXTENSION_DATA_FILE = 0x44415441,
  EXTENSION_BACKING_FORMAT = 0xe2792aca,
};
#define BITMAPS_EXTENSION_BYTES 24

/* Fields that only say where the rest of the header is. */
typedef struct {
  guint64 backing_offset;
  guint32 backing_length;
  guint32 refcount_order;
  guint32 header_length;
} Layout;

static gboolean
corrupt (GError **error, const char *fact)
{
  return snap_error_set (error, SNAP_ERROR_CORRUPT, "qcow2 header: %s", fact);
}

void
snap_qcow2_header_free (SnapQcow2Header *self)
{
  if (self == NULL)
    return;
  g_free (self->backing_file);
  g_free (self->backing_format);
  g_free (self->data_file);
  g_free (self);
}

guint64
snap_qcow2_header_l2_entries (const SnapQcow2Header *self)
{
  return self->cluster_size / (self->extended_l2 ? 16 : 8);
}

guint64
snap_qcow2_header_l1_span (const SnapQcow2Header *self)
{
  return snap_qcow2_header_l2_entries (self) * self->cluster_size;
}

/* ---- the fixed fields ---- */

static void
take_v2_fields (SnapQcow2Header *self, Layout *layout, SnapBytes *in)
{
  layout->backing_offset = snap_bytes_take_be64 (in);
  layout->backing_length = snap_bytes_take_be32 (in);
  self->cluster_bits = snap_bytes_take_be32 (in);
  self->size = snap_bytes_take_be64 (in);
  self->crypt_method = snap_bytes_take_be32 (in);
  self->l1_size = snap_bytes_take_be32 (in);
  self->l1_offset = snap_bytes_take_be64 (in);
  snap_bytes_take (in, 8 + 4); /* the refcount table */
  self->n_snapshots = snap_bytes_take_be32 (in);
  self->snapshots_offset = snap_bytes_take_be64 (in);
  layout->refcount_order = 4;
  layout->header_length = V2_BYTES;
}

static void
take_v3_fields (SnapQcow2Header *self, Layout *layout, SnapBytes *in)
{
  self->incompatible = snap_bytes_take_be64 (in);
  self->compatible = snap_bytes_take_be64 (in);
  self->autoclear = snap_bytes_take_be64 (in);
  layout->refcount_order = snap_bytes_take_be32 (in);
  layout->header_length = snap_bytes_take_be32 (in);
  if (layout->header_length > COMPRESSION_TYPE_AT)
    self->compression_type = snap_bytes_take_u8 (in);
}

static gboolean
read_fields (SnapReader *reader, SnapQcow2Header *self, Layout *layout,
             GError **error)
{
  guint8 head[V3_BYTES + 1];
  SnapBytes in = { .at = head, .left = MIN (sizeof head, reader->size) };

  if (!snap_reader_read (reader, 0, head, in.left, error))
    return FALSE;
  if (snap_bytes_take_be32 (&in) != MAGIC)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "not a qcow2 image");
  self->version = snap_bytes_take_be32 (&in);
  if (!in.failed && self->version != 2 && self->version != 3)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "qcow2 version %u",
                           self->version);
  take_v2_fields (self, layout, &in);
  if (self->version == 3)
    take_v3_fields (self, layout, &in);
  return in.failed ? corrupt (error, "cut short") : TRUE;
}

/* ---- checks ---- */

static gboolean
check_features (const SnapQcow2Header *self, GError **error)
{
  guint64 unknown = self->incompatible & ~(guint64) INCOMPATIBLE_KNOWN;

  if (unknown != 0)
    return snap_error_set (
        error, SNAP_ERROR_UNSUPPORTED,
        "qcow2 header: unknown incompatible features 0x%" G_GINT64_MODIFIER "x",
        unknown);
  if (self->incompatible & INCOMPATIBLE_CORRUPT)
    return corrupt (error, "the image is marked corrupt");
  if (self->incompatible & INCOMPATIBLE_DIRTY)
    return snap_error_set (error, SNAP_ERROR_BUSY,
                           "qcow2 header: the image is marked dirty: it is in "
                           "use or was not closed");
  return TRUE;
}

static gboolean
check_encoding (const SnapQcow2Header *self, GError **error)
{
  gboolean has_type = self->compression_type != 0;
  gboolean needs_type = (self->incompatible & INCOMPATIBLE_COMPRESSION) != 0;

  if (self->crypt_method > MAX_CRYPT_METHOD)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "qcow2 header: encryption method %u",
                           self->crypt_method);
  if (self->compression_type > MAX_COMPRESSION_TYPE)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "qcow2 header: compression type %u",
                           self->compression_type);
  if (has_type != needs_type)
    return corrupt (error, "compression type and its feature bit disagree");
  return TRUE;
}

static gboolean
check_layout (const SnapQcow2Header *self, const Layout *layout,
              guint64 file_size, GError **error)
{
  if (self->cluster_bits < SNAP_QCOW2_MIN_CLUSTER_BITS
      || self->cluster_bits > SNAP_QCOW2_MAX_CLUSTER_BITS)
    return corrupt (error, "cluster size out of range");
  if (self->extended_l2 && self->cluster_bits < MIN_EXTENDED_L2_CLUSTER_BITS)
    return corrupt (error, "clusters too small for extended L2 entries");
  if (layout->refcount_order > MAX_REFCOUNT_ORDER)
    return corrupt (error, "refcount width out of range");
  if (self->version == 3
      && (layout->header_length < V3_BYTES || layout->header_length % 8 != 0
          || layout->header_length > self->cluster_size))
    return corrupt (error, "header length out of range");
  if (file_size < self->cluster_size)
    return corrupt (error, "the file ends in the first cluster");
  return TRUE;
}

static gboolean
is_table_inside (const SnapQcow2Header *self, guint64 offset, guint64 length,
                 guint64 file_size)
{
  return offset % self->cluster_size == 0 && offset <= file_size
         && length <= file_size - offset;
}

static gboolean
check_tables (const SnapQcow2Header *self, guint64 file_size, GError **error)
{
  guint64 span = snap_qcow2_header_l1_span (self);
  guint64 l1_bytes = self->l1_size * G_GUINT64_CONSTANT (8);

  if (l1_bytes > SNAP_QCOW2_MAX_L1_BYTES)
    return corrupt (error, "L1 table too large");
  if (self->size / span + (self->size % span != 0) > self->l1_size)
    return corrupt (error, "L1 table too small for the disk");
  if (!is_table_inside (self, self->l1_offset, l1_bytes, file_size))
    return corrupt (error, "L1 table unaligned or outside the file");
  if (self->n_snapshots > SNAP_QCOW2_MAX_SNAPSHOTS)
    return corrupt (error, "too many snapshots");
  if (self->n_snapshots > 0
      && !is_table_inside (self, self->snapshots_offset, 0, file_size))
    return corrupt (error, "snapshot table unaligned or outside the file");
  return TRUE;
}

/* ---- extensions and the name of the backing file ---- */

/* Keep a string of the header; each may be there once. */
static gboolean
take_string (SnapBytes *in, guint32 length, guint32 max_length, char **string,
             GError **error)
{
  const guint8 *at = snap_bytes_take (in, length);

  if (at == NULL || length > max_length || *string != NULL
      || (length > 0 && memchr (at, '\0', length) != NULL))
    return corrupt (error, "a name in it is too long, there twice, or no text");
  *string = g_strndup ((const char *) at, length);
  return TRUE;
}

static gboolean
take_bitmaps (SnapQcow2Header *self, SnapBytes *in, GError **error)
{
  guint32 n_bitmaps = snap_bytes_take_be32 (in);
  guint32 reserved = snap_bytes_take_be32 (in);
  guint64 size = snap_bytes_take_be64 (in);
  guint64 offset = snap_bytes_take_be64 (in);

  /* Software that knows nothing of bitmaps wrote to the image since. */
  self->bitmaps_stale = (self->autoclear & AUTOCLEAR_BITMAPS) == 0;
  if (self->bitmaps_stale)
    return TRUE;
  if (in->failed || in->left > 0 || reserved != 0)
    return corrupt (error, "bitmaps extension malformed");
  if (n_bitmaps == 0 || n_bitmaps > SNAP_QCOW2_MAX_BITMAPS
      || size > SNAP_QCOW2_MAX_BITMAP_DIRECTORY_BYTES
      || offset % self->cluster_size != 0)
    return corrupt (error, "bitmap directory out of range");
  self->n_bitmaps = n_bitmaps;
  self->bitmaps_size = size;
  self->bitmaps_offset = offset;
  return TRUE;
}

/* Types that are unknown, or say nothing that is asked here, are skipped:
   whatever must be understood has an incompatible feature bit. */
static gboolean
take_extension (SnapQcow2Header *self, guint32 type, SnapBytes *in,
                GError **error)
{
  switch (type) {
  case EXTENSION_BACKING_FORMAT:
    return take_string (in, in->left, MAX_BACKING_FORMAT_BYTES,
                        &self->backing_format, error);
  case EXTENSION_DATA_FILE:
    return take_string (in, in->left, self->cluster_size, &self->data_file,
                        error);
  case EXTENSION_BITMAPS:
    return take_bitmaps (self, in, error);
  default:
    return TRUE;
  }
}

static gboolean
take_extensions (SnapQcow2Header *self, SnapBytes *in, GError **error)
{
  const guint8 *start = in->at;

  while (in->left >= 8) {
    guint32 type = snap_bytes_take_be32 (in);
    guint32 length = snap_bytes_take_be32 (in);
    SnapBytes data = { .left = length };

    if (type == EXTENSION_END)
      return TRUE;
    data.at = snap_bytes_take (in, length);
    if (data.at == NULL)
      return corrupt (error, "an extension leaves the first cluster");
    if (!take_extension (self, type, &data, error))
      return FALSE;
    snap_bytes_align (in, start, 8);
  }
  return TRUE;
}

/* Extensions end where the name of the backing file begins. */
static gboolean
read_rest (SnapReader *reader, SnapQcow2Header *self, const Layout *layout,
           GError **error)
{
  guint64 begin = layout->header_length;
  guint64 end = self->cluster_size;
  g_autoptr (GBytes) bytes = NULL;
  SnapBytes in = { 0 };

  if (layout->backing_offset != 0)
    end = layout->backing_offset;
  if (end < begin || end > self->cluster_size)
    return corrupt (error, "backing file name outside the first cluster");
  bytes =
      snap_reader_read_bytes (reader, begin, self->cluster_size - begin, error);
  if (bytes == NULL)
    return FALSE;
  in.at = g_bytes_get_data (bytes, NULL);
  in.left = end - begin;
  if (!take_extensions (self, &in, error))
    return FALSE;
  if (layout->backing_offset == 0 || layout->backing_length == 0)
    return TRUE;

  in.at = (const guint8 *) g_bytes_get_data (bytes, NULL) + (end - begin);
  in.left = self->cluster_size - end;
  in.failed = FALSE;
  return take_string (&in, layout->backing_length, MAX_BACKING_FILE_BYTES,
                      &self->backing_file, error);
}

/* A data file counts where the feature bit says so, named or not. */
static void
settle_data_file (SnapQcow2Header *self)
{
  if ((self->incompatible & INCOMPATIBLE_DATA_FILE) == 0)
    g_clear_pointer (&self->data_file, g_free);
  else if (self->data_file == NULL)
    self->data_file = g_strdup ("");
}

SnapQcow2Header *
snap_qcow2_header_read (SnapReader *reader, GError **error)
{
  g_autoptr (SnapQcow2Header) self = g_new0 (SnapQcow2Header, 1);
  Layout layout = { 0 };

  if (!read_fields (reader, self, &layout, error)
      || !check_features (self, error) || !check_encoding (self, error))
    return NULL;
  self->extended_l2 = (self->incompatible & INCOMPATIBLE_EXTENDED_L2) != 0;
  self->cluster_size = G_GUINT64_CONSTANT (1) << (self->cluster_bits & 63);
  if (!check_layout (self, &layout, reader->size, error)
      || !check_tables (self, reader->size, error)
      || !read_rest (reader, self, &layout, error))
    return NULL;
  settle_data_file (self);
  return g_steal_pointer (&self);
}
