/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole image from memory: its header, snapshots, bitmaps, every layer's
 * runs, and the differences of every two layers.
 *
 * Beside "no crash", what comes out must keep its contracts, and where a diff
 * says nothing, both layers must say the same.
 */
#include "config.h"

#include <glib.h>
#include <string.h>

#include "snapshot-core/format/qcow2-bitmaps.h"
#include "snapshot-core/format/qcow2-layer.h"
#include "snapshot-core/format/qcow2-snapshots.h"
#include "tests/fuzz/fuzz-target.h"

/* What bounds the time of one input. */
#define MAX_INPUT_BYTES (256 * 1024)
#define MAX_LAYERS 5
#define MAX_RUNS 2000
#define MAX_COMPARED_CLUSTERS (64 * 1024)

typedef struct {
  SnapReader *reader;
  SnapQcow2Header *header;
  guint64 backing_size;
  SnapQcow2Layer *layers[MAX_LAYERS + 1]; /* the first is NULL */
  guint n_layers;
} Image;

/* ---- runs ---- */

static gboolean
find_run (SnapQcow2Layer *layer, guint64 offset, SnapQcow2Run *run)
{
  guint64 left = snap_qcow2_layer_size (layer) - offset;

  if (!snap_qcow2_layer_run (layer, offset, G_MAXUINT64, run, NULL))
    return FALSE;
  g_assert_cmpuint (run->length, >, 0);
  g_assert_cmpuint (run->length, <=, left);
  g_assert_true (run->kind == SNAP_QCOW2_DATA || run->host_offset == 0);
  return TRUE;
}

static void
walk_runs (SnapQcow2Layer *layer)
{
  guint64 size = snap_qcow2_layer_size (layer);
  guint64 at = 0;
  SnapQcow2Run run;

  for (guint i = 0; i < MAX_RUNS && at < size; i++) {
    if (!find_run (layer, at, &run))
      return;
    at += run.length;
  }
  if (size > 0)
    find_run (layer, size - 1, &run);
}

/* ---- diffs ---- */

typedef struct {
  const Image *image;
  SnapQcow2Layer *from, *to;
  guint64 at, end;
  guint n_checks;
} Diff;

/* What the byte at @offset is: zeroes, or one place. */
static gboolean
describe (const Diff *diff, SnapQcow2Layer *layer, guint64 offset,
          SnapQcow2Run *run)
{
  *run = (SnapQcow2Run){ .kind = SNAP_QCOW2_UNALLOCATED };
  if (layer != NULL && !find_run (layer, offset, run))
    return FALSE;
  if (run->kind == SNAP_QCOW2_UNALLOCATED
      && offset >= diff->image->backing_size)
    run->kind = SNAP_QCOW2_ZERO;
  return TRUE;
}

/* Nothing was reported from diff->at to @end: look at its first byte. */
static void
check_clean (Diff *diff, guint64 end)
{
  SnapQcow2Run from, to;

  if (diff->at == end || diff->n_checks++ == MAX_RUNS
      || !describe (diff, diff->from, diff->at, &from)
      || !describe (diff, diff->to, diff->at, &to))
    return;
  g_assert_cmpint (from.kind, ==, to.kind);
  g_assert_cmpuint (from.host_offset, ==, to.host_offset);
}

static gboolean
receive (const SnapExtent *extent, gpointer user_data, GError **error)
{
  Diff *diff = user_data;

  g_assert_cmpuint (extent->offset, >=, diff->at);
  g_assert_cmpuint (extent->length, >, 0);
  g_assert_cmpuint (extent->offset, <, diff->end);
  g_assert_cmpuint (extent->length, <=, diff->end - extent->offset);
  g_assert_true (extent->flags & SNAP_EXTENT_DIRTY);
  check_clean (diff, extent->offset);
  diff->at = extent->offset + extent->length;
  return TRUE;
}

static void
diff_range (const Image *image, SnapQcow2Layer *from, SnapQcow2Layer *to,
            guint64 offset, guint64 length)
{
  Diff diff = {
    .image = image, .from = from, .to = to, .at = offset, .end = offset + length
  };

  if (snap_qcow2_diff (from, to, image->backing_size, offset, length, receive,
                       &diff, NULL))
    check_clean (&diff, diff.end);
}

/* Both ends of the disk, if not all of it. */
static void
diff_pair (const Image *image, SnapQcow2Layer *from, SnapQcow2Layer *to)
{
  guint64 most = MAX_COMPARED_CLUSTERS * image->header->cluster_size;
  guint64 size = G_MAXINT64;

  if (from != NULL)
    size = snap_qcow2_layer_size (from);
  if (to != NULL)
    size = MIN (size, snap_qcow2_layer_size (to));
  diff_range (image, from, to, 0, MIN (size, most));
  if (size > most)
    diff_range (image, from, to, size - most, most);
}

/* ---- the image ---- */

static void
add_layer (Image *image, guint64 l1_offset, guint32 l1_size, guint64 size)
{
  SnapQcow2Layer *layer;

  if (image->n_layers > MAX_LAYERS)
    return;
  layer = snap_qcow2_layer_open (image->reader, image->header, l1_offset,
                                 l1_size, size, NULL);
  if (layer != NULL)
    image->layers[image->n_layers++] = layer;
}

static void
add_snapshots (Image *image)
{
  g_autoptr (GPtrArray) snapshots =
      snap_qcow2_snapshots_read (image->reader, image->header, NULL);

  for (guint i = 0; snapshots != NULL && i < snapshots->len; i++) {
    const SnapQcow2Snapshot *snapshot = g_ptr_array_index (snapshots, i);

    g_assert_nonnull (snapshot->id);
    g_assert_nonnull (snapshot->name);
    add_layer (image, snapshot->l1_offset, snapshot->l1_size, snapshot->size);
  }
}

static void
read_bitmaps (const Image *image)
{
  g_autoptr (GPtrArray) bitmaps =
      snap_qcow2_bitmaps_read (image->reader, image->header, NULL);

  for (guint i = 0; bitmaps != NULL && i < bitmaps->len; i++) {
    const SnapQcow2Bitmap *bitmap = g_ptr_array_index (bitmaps, i);

    g_assert_cmpuint (strlen (bitmap->name), >, 0);
  }
}

static void
parse (Image *image)
{
  const SnapQcow2Header *header = image->header;

  /* As if there were one that ends in the middle of a cluster. */
  if (header->backing_file != NULL)
    image->backing_size = header->size / 2 + 512;
  image->n_layers = 1;
  add_layer (image, header->l1_offset, header->l1_size, header->size);
  add_snapshots (image);
  read_bitmaps (image);
  for (guint i = 1; i < image->n_layers; i++)
    walk_runs (image->layers[i]);
  for (guint i = 0; i < image->n_layers; i++)
    for (guint j = 0; j < image->n_layers; j++)
      if (i != j)
        diff_pair (image, image->layers[i], image->layers[j]);
  for (guint i = 1; i < image->n_layers; i++)
    snap_qcow2_layer_close (image->layers[i]);
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
  g_autoptr (GBytes) bytes = g_bytes_new_static (data, size);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);
  g_autoptr (SnapQcow2Header) header = NULL;
  Image image = { .reader = reader };

  if (size > MAX_INPUT_BYTES)
    return 0;
  header = image.header = snap_qcow2_header_read (reader, NULL);
  if (header != NULL)
    parse (&image);
  return 0;
}
