/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arbitrary bytes as the metadata of a thin pool, with the checksums made
 * right, so that what lies behind them is reached.
 *
 * Whatever the blocks say: it ends, and a diff that is given keeps its shape,
 * and is the same when it is read in many small pieces.
 */
#include "config.h"

#include <string.h>

#include "snapshot-core/base/crc32c.h"
#include "snapshot-core/format/thin-diff.h"
#include "tests/fuzz/fuzz-target.h"

#define SUPERBLOCK_SALT 160774
#define NODE_SALT 121107

/* Enough for every pair of what a small file can hold. */
#define MAX_DEVICES 8

/* Nodes read together, so that small trees need several batches. */
#define SMALL_BATCH 2

static void
seal (guint8 *block, guint32 salt)
{
  guint32 sum = GUINT32_TO_LE (
      snap_crc32c (G_MAXUINT32, block + 4, SNAP_THIN_BLOCK - 4) ^ salt);

  memcpy (block, &sum, sizeof sum);
}

static SnapReader *
make_reader (const uint8_t *data, size_t size)
{
  g_autofree guint8 *copy = g_memdup2 (data, size);
  g_autoptr (GBytes) bytes = NULL;

  for (size_t at = 0; at + SNAP_THIN_BLOCK <= size; at += SNAP_THIN_BLOCK)
    seal (copy + at, at == 0 ? SUPERBLOCK_SALT : NODE_SALT);
  bytes = g_bytes_new (copy, size);
  return snap_reader_new_memory (bytes);
}

typedef struct {
  guint64 chunk_size;
  guint64 end;
  SnapExtents *extents;
} Shape;

static gboolean
check_extent (const SnapExtent *extent, gpointer user_data, GError **error)
{
  Shape *shape = user_data;

  if (extent->offset < shape->end || extent->length == 0
      || extent->offset % shape->chunk_size != 0
      || extent->length % shape->chunk_size != 0
      || (extent->flags & SNAP_EXTENT_DIRTY) == 0)
    abort ();
  shape->end = extent->offset + extent->length;
  return snap_extents_append_func (extent, shape->extents, error);
}

static SnapExtents *
run_diff (SnapThinDiff *diff, guint max_batch)
{
  g_autoptr (SnapExtents) extents = snap_extents_new ();
  Shape shape = { diff->super->chunk_size, 0, extents };

  diff->max_batch = max_batch;
  return snap_thin_diff (diff, check_extent, &shape, NULL)
             ? g_steal_pointer (&extents)
             : NULL;
}

static gboolean
are_equal (const SnapExtents *one, const SnapExtents *other)
{
  if (snap_extents_n (one) != snap_extents_n (other))
    return FALSE;
  for (gsize i = 0; i < snap_extents_n (one); i++) {
    const SnapExtent *a = snap_extents_at (one, i);
    const SnapExtent *b = snap_extents_at (other, i);

    if (a->offset != b->offset || a->length != b->length
        || a->flags != b->flags)
      return FALSE;
  }
  return TRUE;
}

static void
compare (SnapReader *reader, const SnapThinSuperblock *super,
         const SnapThinDevice *from, const SnapThinDevice *to)
{
  SnapThinDiff diff = { .reader = reader,
                        .super = super,
                        .from = from,
                        .to = to,
                        .unmapped_is_zero = TRUE,
                        .length = (guint64) super->chunk_size << 32 };
  g_autoptr (SnapExtents) whole = run_diff (&diff, 0);
  g_autoptr (SnapExtents) pieces = run_diff (&diff, SMALL_BATCH);

  /* A fault may be met by either, where it has no part in the answer. */
  if (whole != NULL && pieces != NULL && !are_equal (whole, pieces))
    abort ();
}

static void
compare_all (SnapReader *reader, const SnapThinSuperblock *super,
             const GArray *devices)
{
  guint n = MIN (devices->len, MAX_DEVICES);

  for (guint i = 0; i < n; i++) {
    const SnapThinDevice *to = &g_array_index (devices, SnapThinDevice, i);
    guint64 end;

    snap_thin_device_end (reader, super, to, &end, NULL);
    compare (reader, super, NULL, to);
    for (guint j = 0; j < n; j++)
      compare (reader, super, &g_array_index (devices, SnapThinDevice, j), to);
  }
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (SnapReader) reader = NULL;
  g_autoptr (GArray) devices = NULL;
  SnapThinSuperblock super;

  if (size < SNAP_THIN_BLOCK)
    return 0;
  reader = make_reader (data, size);
  if (snap_thin_superblock_read (reader, 0, &super, NULL))
    devices = snap_thin_devices_read (reader, &super, NULL);
  if (devices != NULL)
    compare_all (reader, &super, devices);
  return 0;
}
