/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two layers are compared by where their clusters lie, never by what is in
 * them: a cluster that two layers share is not rewritten in place, so one
 * place means the same bytes.  Two places are a change, whatever they hold.
 */
#include "config.h"

#include "snapshot-core/format/qcow2-layer.h"

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/qcow2-entry.h"
#include "snapshot-core/format/qcow2-layer-private.h"

typedef struct {
  SnapQcow2Layer *layer; /* NULL: nothing is allocated */
  guint8 *buffer;        /* room for one L2 table */
  const guint8 *table;   /* the buffer, or NULL where the L1 entry is absent */
} Side;

typedef struct {
  const SnapQcow2Header *header;
  Side from, to;
  guint64 backing_size;
  guint64 begin, end;

  SnapExtent pending; /* may still grow; no length: none */
  SnapExtentFunc emit;
  gpointer user_data;
} Diff;

/* ---- one side ---- */

static void
side_clear (Side *side)
{
  g_free (side->buffer);
}

static guint64
side_l2_offset (const Side *side, guint64 index)
{
  return side->layer != NULL ? snap_qcow2_l1_at (&side->layer->l1, index) : 0;
}

static gboolean
side_load (Side *side, guint64 index, GError **error)
{
  guint64 l2_offset = side_l2_offset (side, index);
  gsize length;

  side->table = NULL;
  if (l2_offset == 0)
    return TRUE;
  length = side->layer->header->cluster_size;
  if (side->buffer == NULL)
    side->buffer = g_malloc (length);
  if (!snap_reader_read (side->layer->reader, l2_offset, side->buffer, length,
                         error))
    return FALSE;
  side->table = side->buffer;
  return TRUE;
}

static SnapQcow2Entry
side_entry (const Diff *diff, const Side *side, guint64 index)
{
  if (side->table == NULL)
    return (SnapQcow2Entry){ 0 };
  return snap_qcow2_entry_at (diff->header, side->table, index);
}

/* ---- whether the comparison can be trusted ---- */

/*
 * What the active layer shares with a snapshot is written elsewhere because
 * its COPIED flag is off.  Where it is on (a `qemu-img snapshot -a` that was
 * killed leaves that), writes have gone through to the snapshot, and one place
 * no longer means the same bytes.
 */
static gboolean
not_shared_rightly (guint64 offset, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                         "the image shares what lies at %" G_GUINT64_FORMAT
                         " with a snapshot and yet writes there; run "
                         "qemu-img check -r all and make a full copy",
                         offset);
}

/* The side that is written to, if the other one is a snapshot; or NULL. */
static const Side *
active_side (const Diff *diff)
{
  gboolean from = diff->from.layer != NULL && diff->from.layer->active;
  gboolean to = diff->to.layer != NULL && diff->to.layer->active;

  if (from == to)
    return NULL;
  return from ? &diff->from : &diff->to;
}

static gboolean
check_l1_shared (const Diff *diff, guint64 index, GError **error)
{
  const Side *active = active_side (diff);

  if (active == NULL || !snap_qcow2_l1_is_copied (&active->layer->l1, index))
    return TRUE;
  return not_shared_rightly (snap_qcow2_l1_at (&active->layer->l1, index),
                             error);
}

static gboolean
check_cluster_shared (const Diff *diff, SnapQcow2Entry from, SnapQcow2Entry to,
                      guint64 index, GError **error)
{
  const Side *active = active_side (diff);
  guint64 host_offset = snap_qcow2_entry_host_offset (from);

  if (active == NULL || host_offset == 0
      || host_offset != snap_qcow2_entry_host_offset (to)
      || !snap_qcow2_entry_is_copied (diff->header, active->table, index))
    return TRUE;
  return not_shared_rightly (host_offset, error);
}

/* ---- changes ---- */

static gboolean
flush (Diff *diff, GError **error)
{
  SnapExtent extent = diff->pending;

  diff->pending.length = 0;
  return extent.length == 0 || diff->emit (&extent, diff->user_data, error);
}

static gboolean
push (Diff *diff, guint64 offset, guint64 length, guint32 flags, GError **error)
{
  SnapExtent *pending = &diff->pending;

  if (pending->length > 0 && pending->flags == flags
      && pending->offset + pending->length == offset) {
    pending->length += length;
    return TRUE;
  }
  if (!flush (diff, error))
    return FALSE;
  *pending = (SnapExtent){ offset, length, flags };
  return TRUE;
}

static gboolean
reads_zero (const SnapQcow2Piece *piece, gboolean has_backing)
{
  return piece->kind == SNAP_QCOW2_ZERO
         || (piece->kind == SNAP_QCOW2_UNALLOCATED && !has_backing);
}

/* Whether two pieces at one place of the disk are the same bytes for sure. */
static gboolean
is_same (const SnapQcow2Piece *a, const SnapQcow2Piece *b, gboolean has_backing)
{
  gboolean zero_a = reads_zero (a, has_backing);
  gboolean zero_b = reads_zero (b, has_backing);

  if (zero_a || zero_b)
    return zero_a && zero_b;
  return a->kind == b->kind && a->location == b->location;
}

/* Compare [offset, end), which is in one cluster that is mapped differently. */
static gboolean
diff_cluster (Diff *diff, SnapQcow2Entry from, SnapQcow2Entry to,
              guint64 offset, guint64 end, GError **error)
{
  const SnapQcow2Header *header = diff->header;

  while (offset < end) {
    guint64 in_cluster = offset & (header->cluster_size - 1);
    SnapQcow2Piece a = snap_qcow2_entry_piece (header, from, in_cluster);
    SnapQcow2Piece b = snap_qcow2_entry_piece (header, to, in_cluster);
    guint64 length = MIN (MIN (a.length, b.length), end - offset);
    gboolean has_backing = offset < diff->backing_size;
    guint32 flags = SNAP_EXTENT_DIRTY;

    if (has_backing)
      length = MIN (length, diff->backing_size - offset);
    if (reads_zero (&b, has_backing))
      flags |= SNAP_EXTENT_ZERO;
    if (!is_same (&a, &b, has_backing)
        && !push (diff, offset, length, flags, error))
      return FALSE;
    offset += length;
  }
  return TRUE;
}

/* Compare the cluster at @offset, which entry @index of both tables maps. */
static gboolean
diff_entry (Diff *diff, guint64 index, guint64 offset, GError **error)
{
  const SnapQcow2Header *header = diff->header;
  SnapQcow2Entry from = side_entry (diff, &diff->from, index);
  SnapQcow2Entry to = side_entry (diff, &diff->to, index);

  if (!check_cluster_shared (diff, from, to, index, error))
    return FALSE;
  if (!snap_qcow2_entry_equal (from, to))
    return snap_qcow2_entry_check (header, from, error)
           && snap_qcow2_entry_check (header, to, error)
           && diff_cluster (diff, from, to, MAX (offset, diff->begin),
                            MIN (offset + header->cluster_size, diff->end),
                            error);
  return TRUE;
}

/*
 * Find the first entry from @index on that has to be looked at: one that is
 * not the same in both tables to the bit, or is marked as nobody else's.  Most
 * of a diff's time passes here.
 */
static guint64
skip_same_entries (const Diff *diff, guint64 index, guint64 end)
{
  const guint8 *from = diff->from.table;
  const guint8 *to = diff->to.table;
  guint64 words = diff->header->extended_l2 ? 2 : 1;

  if (from == NULL || to == NULL)
    return index;
  for (guint64 i = index * words; i < end * words; i++) {
    guint64 word = snap_bytes_be64_at (to, i);

    if (word != snap_bytes_be64_at (from, i)
        || (word & SNAP_QCOW2_ENTRY_COPIED))
      return i / words;
  }
  return end;
}

/* Compare the part of the disk that L1 entry @l1_index maps. */
static gboolean
diff_tables (Diff *diff, guint64 l1_index, GError **error)
{
  const SnapQcow2Header *header = diff->header;
  guint64 span = snap_qcow2_header_l1_span (header);
  guint64 base = l1_index * span;
  guint64 first = (MAX (diff->begin, base) - base) >> header->cluster_bits;
  guint64 last =
      (MIN (diff->end, base + span) - 1 - base) >> header->cluster_bits;

  for (guint64 i = skip_same_entries (diff, first, last + 1); i <= last;
       i = skip_same_entries (diff, i + 1, last + 1))
    if (!diff_entry (diff, i, base + (i << header->cluster_bits), error))
      return FALSE;
  return TRUE;
}

/* ---- the walk ---- */

static gboolean
diff_l1_entry (Diff *diff, guint64 index, GError **error)
{
  guint64 from = side_l2_offset (&diff->from, index);
  guint64 to = side_l2_offset (&diff->to, index);

  if (from == to)
    return from == 0 || check_l1_shared (diff, index, error);
  return side_load (&diff->from, index, error)
         && side_load (&diff->to, index, error)
         && diff_tables (diff, index, error);
}

static gboolean
run_diff (Diff *diff, GError **error)
{
  guint64 span = snap_qcow2_header_l1_span (diff->header);
  guint64 n_from = diff->from.layer != NULL ? diff->from.layer->l1.n : 0;
  guint64 n_to = diff->to.layer != NULL ? diff->to.layer->l1.n : 0;
  /* Past both tables nothing is allocated on either side. */
  guint64 n = MIN (MAX (n_from, n_to), (diff->end - 1) / span + 1);

  for (guint64 i = diff->begin / span; i < n; i++)
    if (!diff_l1_entry (diff, i, error))
      return FALSE;
  return flush (diff, error);
}

gboolean
snap_qcow2_diff (SnapQcow2Layer *from, SnapQcow2Layer *to, guint64 backing_size,
                 guint64 offset, guint64 length, SnapExtentFunc emit,
                 gpointer user_data, GError **error)
{
  SnapQcow2Layer *layer = to != NULL ? to : from;
  Diff diff = { .from.layer = from,
                .to.layer = to,
                .backing_size = backing_size,
                .begin = offset,
                .end = offset + length,
                .emit = emit,
                .user_data = user_data };
  gboolean done;

  g_return_val_if_fail (length <= G_MAXINT64 - offset, FALSE);
  g_return_val_if_fail (from == NULL || diff.end <= from->size, FALSE);
  g_return_val_if_fail (to == NULL || diff.end <= to->size, FALSE);

  if (layer == NULL || length == 0)
    return TRUE;
  diff.header = layer->header;
  done = run_diff (&diff, error);
  side_clear (&diff.from);
  side_clear (&diff.to);
  return done;
}
