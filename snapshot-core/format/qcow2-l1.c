/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-l1.h"

#include "snapshot-core/base/error.h"

#define RESERVED (~(SNAP_QCOW2_ENTRY_COPIED | SNAP_QCOW2_ENTRY_OFFSET))

static const char *
find_fault (guint64 entry, const SnapQcow2Header *header, guint64 file_size)
{
  guint64 l2_offset = entry & SNAP_QCOW2_ENTRY_OFFSET;

  if (entry & RESERVED)
    return "reserved bits are set";
  if (l2_offset % header->cluster_size != 0)
    return "unaligned L2 table";
  if (l2_offset > file_size - header->cluster_size)
    return "L2 table outside the file";
  return NULL;
}

/* Check the table and turn it, as it was read, into our byte order. */
static gboolean
decode (SnapQcow2L1 *self, const SnapQcow2Header *header, guint64 file_size,
        GError **error)
{
  for (guint64 i = 0; i < self->n; i++) {
    guint64 entry = GUINT64_FROM_BE (self->entries[i]);
    const char *fault = find_fault (entry, header, file_size);

    if (fault != NULL)
      return snap_error_set (error, SNAP_ERROR_CORRUPT,
                             "entry %" G_GUINT64_FORMAT
                             ", 0x%016" G_GINT64_MODIFIER "x: %s",
                             i, entry, fault);
    self->entries[i] = entry;
  }
  return TRUE;
}

static gboolean
read_table (SnapQcow2L1 *self, SnapReader *reader,
            const SnapQcow2Header *header, guint64 offset, guint64 n,
            GError **error)
{
  g_autoptr (GBytes) bytes = NULL;
  gsize length = 0;

  if (n > SNAP_QCOW2_MAX_L1_BYTES / 8)
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "too large");
  if (offset % header->cluster_size != 0)
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "unaligned");
  bytes = snap_reader_read_bytes (reader, offset, n * 8, error);
  if (bytes == NULL)
    return FALSE;
  self->n = n;
  self->entries = g_bytes_unref_to_data (g_steal_pointer (&bytes), &length);
  return TRUE;
}

gboolean
snap_qcow2_l1_init (SnapQcow2L1 *self, SnapReader *reader,
                    const SnapQcow2Header *header, guint64 offset, guint64 n,
                    GError **error)
{
  *self = (SnapQcow2L1){ 0 };
  if (read_table (self, reader, header, offset, n, error)
      && decode (self, header, reader->size, error))
    return TRUE;
  g_prefix_error (error, "L1 table at %" G_GUINT64_FORMAT ": ", offset);
  return FALSE;
}

void
snap_qcow2_l1_clear (SnapQcow2L1 *self)
{
  g_clear_pointer (&self->entries, g_free);
  self->n = 0;
}
