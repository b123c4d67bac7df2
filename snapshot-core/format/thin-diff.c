/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/thin-diff.h"

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/format/thin-cursor.h"

/* Bytes of a value in the trees of mappings and of device details. */
#define MAPPING_SIZE 8
#define DETAILS_SIZE 24

/* A mapping is the data block, and below it the time of the mapping. */
#define TIME_BITS 24

/* No chunk at or above it: its end would not fit an offset. */
#define MAX_CHUNKS(chunk_size) (G_MAXINT64 / (chunk_size))

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

/* The chunk that @cursor stands on is mapped on its side only. */
static gboolean
push_single (Sink *sink, Cursor *cursor, gboolean is_old, GError **error)
{
  guint32 flags = SNAP_EXTENT_DIRTY;

  if (is_old && sink->diff->unmapped_is_zero)
    flags |= SNAP_EXTENT_ZERO;
  if (!push (sink, snap_thin_cursor_key (cursor), flags, error))
    return FALSE;
  snap_thin_cursor_skip (cursor);
  return TRUE;
}

/* Only @cursor has anything from here on, or before the other's key. */
static gboolean
step_single (Sink *sink, Cursor *cursor, gboolean is_old, GError **error)
{
  return snap_thin_cursor_is_leaf (cursor)
             ? push_single (sink, cursor, is_old, error)
             : snap_thin_cursor_descend (cursor, error);
}

static gboolean
is_same_child (const Cursor *from, const Cursor *to)
{
  return !snap_thin_cursor_is_leaf (from) && !snap_thin_cursor_is_leaf (to)
         && snap_thin_cursor_value (from) == snap_thin_cursor_value (to);
}

static gboolean
step_leaves (Sink *sink, Cursor *from, Cursor *to, GError **error)
{
  guint64 chunk = snap_thin_cursor_key (to);
  gboolean equal = snap_thin_cursor_value (from) >> TIME_BITS
                   == snap_thin_cursor_value (to) >> TIME_BITS;

  if (!equal && !push (sink, chunk, SNAP_EXTENT_DIRTY, error))
    return FALSE;
  snap_thin_cursor_skip (from);
  snap_thin_cursor_skip (to);
  return TRUE;
}

/* Two entries of one key that are not the same: down on the side that is
   higher, so that they can meet on one level, or on both. */
static gboolean
step_down (Cursor *from, Cursor *to, GError **error)
{
  guint from_level = snap_thin_cursor_level (from);
  guint to_level = snap_thin_cursor_level (to);

  return (from_level < to_level || snap_thin_cursor_descend (from, error))
         && (to_level < from_level || snap_thin_cursor_descend (to, error));
}

/* An entry's key bounds from below all that is under it.  So the one with
   the smaller key is looked into first, and what it holds in a leaf, before
   the other's key, the other does not hold. */
static gboolean
step (Sink *sink, Cursor *from, Cursor *to, GError **error)
{
  guint64 from_key = snap_thin_cursor_key (from);
  guint64 to_key = snap_thin_cursor_key (to);

  if (is_same_child (from, to)) {
    snap_thin_cursor_skip (from);
    snap_thin_cursor_skip (to);
    return TRUE;
  }
  if (from_key < to_key)
    return step_single (sink, from, TRUE, error);
  if (to_key < from_key)
    return step_single (sink, to, FALSE, error);
  if (snap_thin_cursor_is_leaf (from) && snap_thin_cursor_is_leaf (to))
    return step_leaves (sink, from, to, error);
  return step_down (from, to, error);
}

static gboolean
walk (Sink *sink, Cursor *from, Cursor *to, GError **error)
{
  while (!from->at_end && !to->at_end)
    if (!step (sink, from, to, error))
      return FALSE;
  while (!from->at_end)
    if (!step_single (sink, from, TRUE, error))
      return FALSE;
  while (!to->at_end)
    if (!step_single (sink, to, FALSE, error))
      return FALSE;
  return flush (sink, error);
}

static gboolean
open_side (const SnapThinDiff *self, const SnapThinDevice *device,
           Cursor *cursor, GError **error)
{
  guint64 chunk = self->super->chunk_size;
  guint64 begin = self->offset / chunk;
  guint64 end = (self->offset + self->length + chunk - 1) / chunk;

  if (device == NULL) {
    snap_thin_cursor_init_empty (cursor);
    return TRUE;
  }
  return snap_thin_cursor_init (cursor, self->reader, self->super, device->root,
                                MAPPING_SIZE, begin,
                                MIN (end, MAX_CHUNKS (chunk)), error);
}

gboolean
snap_thin_diff (const SnapThinDiff *self, SnapExtentFunc emit,
                gpointer user_data, GError **error)
{
  Sink sink = { .diff = self, .emit = emit, .user_data = user_data };
  g_auto (Cursor) from = { 0 };
  g_auto (Cursor) to = { 0 };

  if (self->from != NULL && self->from->root == self->to->root)
    return TRUE;
  return open_side (self, self->from, &from, error)
         && open_side (self, self->to, &to, error)
         && walk (&sink, &from, &to, error);
}
