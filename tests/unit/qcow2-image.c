/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/qcow2-image.h"

#include <string.h>

static guint64
entry_bytes (const Qcow2Image *self)
{
  return self->extended_l2 ? 16 : 8;
}

static guint64
l1_span (const Qcow2Image *self)
{
  return self->cluster_size / entry_bytes (self) * self->cluster_size;
}

Qcow2Image *
qcow2_image_new (guint version, guint cluster_bits, guint64 size,
                 Qcow2ImageFlags flags)
{
  Qcow2Image *self = g_new0 (Qcow2Image, 1);

  self->bytes = g_byte_array_new ();
  self->cluster_size = G_GUINT64_CONSTANT (1) << cluster_bits;
  self->extended_l2 = (flags & QCOW2_IMAGE_EXTENDED_L2) != 0;
  self->l1_size = (guint32) ((size + l1_span (self) - 1) / l1_span (self));
  qcow2_image_add (self, self->cluster_size);
  self->l1_offset = qcow2_image_add (self, MAX (self->l1_size, 1) * 8);
  qcow2_image_put_text (self, 0, "QFI\xfb");
  qcow2_image_put (self, 4, 4, version);
  qcow2_image_put (self, 20, 4, cluster_bits);
  qcow2_image_put (self, 24, 8, size);
  qcow2_image_put (self, 36, 4, self->l1_size);
  qcow2_image_put (self, 40, 8, self->l1_offset);
  if (version == 3) {
    qcow2_image_put (self, 72, 8, self->extended_l2 ? 1 << 4 : 0);
    qcow2_image_put (self, 96, 4, 4);
    qcow2_image_put (self, 100, 4, 112);
  }
  return self;
}

void
qcow2_image_free (Qcow2Image *self)
{
  g_byte_array_unref (self->bytes);
  g_free (self);
}

void
qcow2_image_put (Qcow2Image *self, guint64 offset, guint width, guint64 value)
{
  g_assert_cmpuint (offset + width, <=, self->bytes->len);
  for (guint i = 0; i < width; i++)
    self->bytes->data[offset + i] = (guint8) (value >> (8 * (width - 1 - i)));
}

void
qcow2_image_put_text (Qcow2Image *self, guint64 offset, const char *text)
{
  g_assert_cmpuint (offset + strlen (text), <=, self->bytes->len);
  memcpy (self->bytes->data + offset, text, strlen (text));
}

guint64
qcow2_image_get64 (Qcow2Image *self, guint64 offset)
{
  guint64 value;

  g_assert_cmpuint (offset + 8, <=, self->bytes->len);
  memcpy (&value, self->bytes->data + offset, 8);
  return GUINT64_FROM_BE (value);
}

guint64
qcow2_image_add (Qcow2Image *self, guint64 length)
{
  guint offset = self->bytes->len;
  guint64 clusters = (length + self->cluster_size - 1) / self->cluster_size;

  g_byte_array_set_size (self->bytes,
                         offset + (guint) (clusters * self->cluster_size));
  memset (self->bytes->data + offset, 0, self->bytes->len - offset);
  return offset;
}

guint64
qcow2_image_map (Qcow2Image *self, guint64 l1_offset, guint64 index,
                 guint64 descriptor, guint64 subclusters)
{
  guint64 l2_entries = self->cluster_size / entry_bytes (self);
  guint64 l1_entry = l1_offset + index / l2_entries * 8;
  guint64 l2_entry;

  if (qcow2_image_get64 (self, l1_entry) == 0)
    qcow2_image_put (self, l1_entry, 8,
                     qcow2_image_add (self, self->cluster_size));
  l2_entry = (qcow2_image_get64 (self, l1_entry) & 0x00fffffffffffe00)
             + index % l2_entries * entry_bytes (self);
  qcow2_image_put (self, l2_entry, 8, descriptor);
  if (self->extended_l2)
    qcow2_image_put (self, l2_entry + 8, 8, subclusters);
  return l2_entry;
}

SnapReader *
qcow2_image_reader_cut (Qcow2Image *self, gsize length)
{
  g_autoptr (GBytes) bytes = g_bytes_new (self->bytes->data, length);

  return snap_reader_new_memory (bytes);
}

SnapReader *
qcow2_image_reader (Qcow2Image *self)
{
  return qcow2_image_reader_cut (self, self->bytes->len);
}

SnapQcow2Header *
qcow2_image_header (SnapReader *reader)
{
  g_autoptr (GError) error = NULL;
  SnapQcow2Header *header = snap_qcow2_header_read (reader, &error);

  g_assert_no_error (error);
  return header;
}
