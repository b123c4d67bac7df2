/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-layer.h"

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/qcow2-entry.h"
#include "snapshot-core/format/qcow2-layer-private.h"

guint64
snap_qcow2_granularity (const SnapQcow2Header *header)
{
  if (header->extended_l2)
    return header->cluster_size / SNAP_QCOW2_SUBCLUSTERS;
  return header->cluster_size;
}

/* ---- opening ---- */

/* Entries past the disk map the state of a guest's memory. */
static guint64
count_disk_entries (const SnapQcow2Header *header, guint32 l1_size,
                    guint64 size)
{
  guint64 span = snap_qcow2_header_l1_span (header);

  return MIN (l1_size, size / span + (size % span != 0));
}

/* With an external data file an entry means another thing. */
static gboolean
check_supported (const SnapQcow2Header *header, guint64 size, GError **error)
{
  if (header->data_file != NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "L1 table: its data lies in an external file");
  if (size > G_MAXINT64)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "L1 table: a disk of %" G_GUINT64_FORMAT " bytes",
                           size);
  return TRUE;
}

SnapQcow2Layer *
snap_qcow2_layer_open (SnapReader *reader, const SnapQcow2Header *header,
                       guint64 l1_offset, guint32 l1_size, guint64 size,
                       GError **error)
{
  g_autoptr (SnapQcow2Layer) self = NULL;

  if (!check_supported (header, size, error))
    return NULL;
  self = g_new0 (SnapQcow2Layer, 1);
  self->reader = reader;
  self->header = header;
  self->size = size;
  self->active = l1_offset == header->l1_offset;
  self->cache = snap_qcow2_l2_cache_new (reader, header->cluster_size,
                                         SNAP_QCOW2_L2_CACHE_BYTES);
  if (!snap_qcow2_l1_init (&self->l1, reader, header, l1_offset,
                           count_disk_entries (header, l1_size, size), error))
    return NULL;
  return g_steal_pointer (&self);
}

void
snap_qcow2_layer_close (SnapQcow2Layer *self)
{
  if (self == NULL)
    return;
  snap_qcow2_l1_clear (&self->l1);
  snap_qcow2_l2_cache_free (self->cache);
  g_free (self);
}

guint64
snap_qcow2_layer_size (SnapQcow2Layer *self)
{
  return self->size;
}

/* ---- runs ---- */

/* Nothing is mapped from @offset to the next L2 table, or to the end. */
static void
find_absent_run (SnapQcow2Layer *self, guint64 offset, guint64 end,
                 SnapQcow2Run *run)
{
  guint64 span = snap_qcow2_header_l1_span (self->header);
  guint64 index = offset / span;
  guint64 at = offset;

  while (at < end && index < self->l1.n
         && snap_qcow2_l1_at (&self->l1, index) == 0)
    at = ++index * span;
  if (index >= self->l1.n)
    at = end;
  *run = (SnapQcow2Run){ .length = MIN (at, end) - offset,
                         .kind = SNAP_QCOW2_UNALLOCATED };
}

static gboolean
continues (const SnapQcow2Run *run, const SnapQcow2Piece *piece)
{
  return piece->kind == run->kind
         && (run->kind != SNAP_QCOW2_DATA
             || piece->location == run->host_offset + run->length);
}

/* Join pieces from @begin to @end, which are bytes of the table's span. */
static gboolean
find_table_run (const SnapQcow2Header *header, const guint8 *table,
                guint64 begin, guint64 end, SnapQcow2Run *run, GError **error)
{
  guint64 at = begin;

  *run = (SnapQcow2Run){ 0 };
  while (at < end) {
    guint64 index = at >> header->cluster_bits;
    SnapQcow2Entry entry = snap_qcow2_entry_at (header, table, index);
    SnapQcow2Piece piece;

    if (!snap_qcow2_entry_check (header, entry, error))
      return FALSE;
    piece =
        snap_qcow2_entry_piece (header, entry, at & (header->cluster_size - 1));
    if (at == begin) {
      run->kind = piece.kind;
      run->host_offset = piece.kind == SNAP_QCOW2_DATA ? piece.location : 0;
    }
    else if (!continues (run, &piece)) {
      return TRUE;
    }
    piece.length = MIN (piece.length, end - at);
    run->length += piece.length;
    at += piece.length;
  }
  return TRUE;
}

gboolean
snap_qcow2_layer_run (SnapQcow2Layer *self, guint64 offset, guint64 max_length,
                      SnapQcow2Run *run, GError **error)
{
  guint64 span = snap_qcow2_header_l1_span (self->header);
  guint64 begin = offset & (span - 1);
  g_autoptr (GBytes) table = NULL;
  guint64 l2_offset, length;

  g_return_val_if_fail (offset < self->size && max_length > 0, FALSE);

  length = MIN (max_length, self->size - offset);
  l2_offset = snap_qcow2_l1_at (&self->l1, offset / span);
  if (l2_offset == 0) {
    find_absent_run (self, offset, offset + length, run);
    return TRUE;
  }
  table = snap_qcow2_l2_cache_get (self->cache, l2_offset, error);
  if (table != NULL
      && find_table_run (self->header, g_bytes_get_data (table, NULL), begin,
                         MIN (begin + length, span), run, error))
    return TRUE;
  g_prefix_error (error, "L2 table at %" G_GUINT64_FORMAT ": ", l2_offset);
  return FALSE;
}
