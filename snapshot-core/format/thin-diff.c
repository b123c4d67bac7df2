/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/thin-diff.h"

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/format/thin-cursor.h"
#include "snapshot-core/format/thin-level.h"

/* Bytes of a value in the trees of mappings and of device details. */
#define MAPPING_SIZE 8
#define DETAILS_SIZE 24

/* A mapping is the data block, and below it the time of the mapping. */
#define TIME_BITS 24

/* No chunk at or above it: its end would not fit an offset. */
#define MAX_CHUNKS(chunk_size) (G_MAXINT64 / (chunk_size))

/* Leaves that are read together: 12 MiB of them, and there are three batches. */
#define MAX_BATCH 3072

typedef SnapThinCursor Cursor;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Cursor, snap_thin_cursor_clear)

/* ---- devices ---- */

static void
parse_details (const guint8 *bytes, SnapThinDevice *device)
{
  SnapBytes cursor = { .at = bytes, .left = DETAILS_SIZE };

  device->mapped_chunks = snap_bytes_take_le64 (&cursor);
  device->transaction_id = snap_bytes_take_le64 (&cursor);
  device->creation_time = snap_bytes_take_le32 (&cursor);
  device->snapshotted_time = snap_bytes_take_le32 (&cursor);
}

static gboolean
collect_one (Cursor *mappings, Cursor *details, GArray *devices, GError **error)
{
  SnapThinDevice device = { .id = snap_thin_cursor_key (mappings),
                            .root = snap_thin_cursor_value (mappings) };

  if (!snap_thin_cursor_to_leaf (details, error))
    return FALSE;
  if (details->at_end || snap_thin_cursor_key (details) != device.id)
    return snap_error_set (
        error, SNAP_ERROR_CORRUPT,
        "metadata: device %" G_GUINT64_FORMAT " has no details", device.id);
  parse_details (snap_thin_cursor_value_bytes (details), &device);
  g_array_append_val (devices, device);
  snap_thin_cursor_skip (mappings);
  snap_thin_cursor_skip (details);
  return TRUE;
}

static gboolean
collect (Cursor *mappings, Cursor *details, GArray *devices, GError **error)
{
  for (;;) {
    if (!snap_thin_cursor_to_leaf (mappings, error))
      return FALSE;
    if (mappings->at_end)
      return TRUE;
    if (!collect_one (mappings, details, devices, error))
      return FALSE;
  }
}

GArray *
snap_thin_devices_read (SnapReader *reader, const SnapThinSuperblock *super,
                        GError **error)
{
  g_autoptr (GArray) devices =
      g_array_new (FALSE, FALSE, sizeof (SnapThinDevice));
  g_auto (Cursor) mappings = { 0 };
  g_auto (Cursor) details = { 0 };
  guint64 all = G_MAXUINT64;

  if (snap_thin_cursor_init (&mappings, reader, super, super->mapping_root,
                             MAPPING_SIZE, 0, all, error)
      && snap_thin_cursor_init (&details, reader, super, super->details_root,
                                DETAILS_SIZE, 0, all, error)
      && collect (&mappings, &details, devices, error))
    return g_steal_pointer (&devices);
  return NULL;
}

gboolean
snap_thin_device_end (SnapReader *reader, const SnapThinSuperblock *super,
                      const SnapThinDevice *device, guint64 *end,
                      GError **error)
{
  g_auto (Cursor) cursor = { 0 };
  guint64 last = MAX_CHUNKS (super->chunk_size) - 1;
  const SnapThinNode *leaf;

  *end = 0;
  if (!snap_thin_cursor_init (&cursor, reader, super, device->root,
                              MAPPING_SIZE, last, G_MAXUINT64, error))
    return FALSE;
  if (!snap_thin_cursor_to_leaf (&cursor, error))
    return FALSE;
  leaf = &cursor.nodes[cursor.height - 1];
  if (leaf->n_entries > 0)
    *end = (MIN (snap_thin_node_key (leaf, leaf->n_entries - 1), last) + 1)
           * super->chunk_size;
  return TRUE;
}

/* ---- the walk ---- */

/* What was found and is not emitted yet, because it may go on. */
typedef struct {
  const SnapThinDiff *diff;
  SnapExtentFunc emit;
  gpointer user_data;
  SnapExtent pending;
} Sink;

static gboolean
flush (Sink *sink, GError **error)
{
  SnapExtent extent = sink->pending;

  sink->pending.length = 0;
  return extent.length == 0 || sink->emit (&extent, sink->user_data, error);
}

static gboolean
push (Sink *sink, guint64 chunk, guint32 flags, GError **error)
{
  guint64 size = sink->diff->super->chunk_size;
  SnapExtent *pending = &sink->pending;

  if (pending->length > 0 && pending->flags == flags
      && pending->offset + pending->length == chunk * size) {
    pending->length += size;
    return TRUE;
  }
  if (!flush (sink, error))
    return FALSE;
  *pending = (SnapExtent){ chunk * size, size, flags };
  return TRUE;
}

/* The lower key is on one side only: what is mapped there, is not on the
   other. */
static gboolean
push_single (Sink *sink, SnapThinSide *side, gboolean is_old, GError **error)
{
  guint32 flags = SNAP_EXTENT_DIRTY;

  if (is_old && sink->diff->unmapped_is_zero)
    flags |= SNAP_EXTENT_ZERO;
  if (!push (sink, snap_thin_side_key (side), flags, error))
    return FALSE;
  side->index++;
  return TRUE;
}

static gboolean
push_pair (Sink *sink, SnapThinSide *from, SnapThinSide *to, GError **error)
{
  gboolean equal = snap_thin_side_value (from) >> TIME_BITS
                   == snap_thin_side_value (to) >> TIME_BITS;

  if (!equal && !push (sink, snap_thin_side_key (to), SNAP_EXTENT_DIRTY, error))
    return FALSE;
  from->index++;
  to->index++;
  return TRUE;
}

/* Merge what both sides have below @limit. */
static gboolean
merge (Sink *sink, SnapThinSide *from, SnapThinSide *to, guint64 limit,
       GError **error)
{
  for (;;) {
    guint64 from_key = snap_thin_side_key (from);
    guint64 to_key = snap_thin_side_key (to);
    gboolean pushed;

    if (MIN (from_key, to_key) >= limit)
      return TRUE;
    if (from_key == to_key)
      pushed = push_pair (sink, from, to, error);
    else if (from_key < to_key)
      pushed = push_single (sink, from, TRUE, error);
    else
      pushed = push_single (sink, to, FALSE, error);
    if (!pushed)
      return FALSE;
  }
}

static gboolean
walk (Sink *sink, SnapThinLevel *leaves, GError **error)
{
  for (;;) {
    guint64 limit;
    SnapThinSide *sides = snap_thin_level_settle (leaves, &limit, error);

    if (sides == NULL)
      return FALSE;
    if (limit == 0)
      return flush (sink, error);
    if (!merge (sink, &sides[SNAP_THIN_FROM], &sides[SNAP_THIN_TO], limit,
                error))
      return FALSE;
  }
}

static gboolean
add_tree (const SnapThinDiff *self, const SnapThinDevice *device, guint side,
          SnapThinTrees *trees, GError **error)
{
  if (device == NULL)
    return TRUE;
  trees->root[side] = device->root;
  return snap_thin_tree_height (self->reader, self->super, device->root,
                                MAPPING_SIZE, &trees->height[side], error);
}

gboolean
snap_thin_diff (const SnapThinDiff *self, SnapExtentFunc emit,
                gpointer user_data, GError **error)
{
  guint64 chunk = self->super->chunk_size;
  guint64 end = (self->offset + self->length + chunk - 1) / chunk;
  Sink sink = { .diff = self, .emit = emit, .user_data = user_data };
  SnapThinTrees trees = {
    .reader = self->reader,
    .super = self->super,
    .value_size = MAPPING_SIZE,
    .begin = self->offset / chunk,
    .end = MIN (end, MAX_CHUNKS (chunk)),
    .max_batch = self->max_batch > 0 ? self->max_batch : MAX_BATCH,
  };
  g_autoptr (SnapThinLevel) leaves = NULL;

  if (self->from != NULL && self->from->root == self->to->root)
    return TRUE;
  if (!add_tree (self, self->from, SNAP_THIN_FROM, &trees, error)
      || !add_tree (self, self->to, SNAP_THIN_TO, &trees, error))
    return FALSE;
  leaves = snap_thin_leaves_new (&trees);
  return walk (&sink, leaves, error);
}
