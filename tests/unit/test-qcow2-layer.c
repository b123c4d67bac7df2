/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-layer.h"

#include <string.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/qcow2-l2-cache.h"
#include "tests/unit/qcow2-model.h"

#define COMPRESSED (G_GUINT64_CONSTANT (1) << 62)
#define EXBI (G_GUINT64_CONSTANT (1) << 60)

/* An image, and a layer of it that is read anew by open_layer(). */
typedef struct {
  Qcow2Image *image;
  SnapReader *reader;
  SnapQcow2Header *header;
  SnapQcow2Layer *layer;
} Fixture;

static void
fixture_clear (Fixture *self)
{
  g_clear_pointer (&self->layer, snap_qcow2_layer_close);
  g_clear_pointer (&self->header, snap_qcow2_header_free);
  g_clear_pointer (&self->reader, snap_reader_free);
  g_clear_pointer (&self->image, qcow2_image_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Fixture, fixture_clear)

static void
open_layer (Fixture *self, guint64 size)
{
  g_autoptr (GError) error = NULL;

  self->reader = qcow2_image_reader (self->image);
  self->header = qcow2_image_header (self->reader);
  self->layer =
      snap_qcow2_layer_open (self->reader, self->header, self->image->l1_offset,
                             self->image->l1_size, size, &error);
  g_assert_no_error (error);
}

static SnapQcow2Run
run_at (SnapQcow2Layer *layer, guint64 offset, guint64 max_length)
{
  g_autoptr (GError) error = NULL;
  SnapQcow2Run run = { 0 };

  snap_qcow2_layer_run (layer, offset, max_length, &run, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (run.length, >, 0);
  g_assert_cmpuint (run.length, <=, max_length);
  return run;
}

static void
assert_run (SnapQcow2Layer *layer, guint64 offset, SnapQcow2Kind kind,
            guint64 length, guint64 host_offset)
{
  SnapQcow2Run run = run_at (layer, offset, G_MAXUINT64);

  g_assert_cmpint (run.kind, ==, kind);
  g_assert_cmpuint (run.length, ==, length);
  g_assert_cmpuint (run.host_offset, ==, host_offset);
}

/* ---- runs ---- */

static void
test_joins_what_is_contiguous (void)
{
  g_auto (Fixture) self = { 0 };
  Qcow2Image *image = qcow2_image_new (3, 9, 32768 * 3, 0);
  guint64 l1 = image->l1_offset;

  self.image = image;
  qcow2_image_map (image, l1, 1, 0x10000, 0);
  qcow2_image_map (image, l1, 2, 0x10200, 0);
  qcow2_image_map (image, l1, 3, 0x10600, 0);
  qcow2_image_map (image, l1, 4, 0x10801, 0);
  qcow2_image_map (image, l1, 5, 1, 0);
  qcow2_image_map (image, l1, 6, COMPRESSED | 0x123, 0);
  qcow2_image_map (image, l1, 7, COMPRESSED | 0x456, 0);
  open_layer (&self, 32768 * 3 - 100);
  assert_run (self.layer, 0, SNAP_QCOW2_UNALLOCATED, 512, 0);
  assert_run (self.layer, 512, SNAP_QCOW2_DATA, 1024, 0x10000);
  assert_run (self.layer, 1000, SNAP_QCOW2_DATA, 536, 0x10000 + 488);
  assert_run (self.layer, 1536, SNAP_QCOW2_DATA, 512, 0x10600);
  assert_run (self.layer, 2048, SNAP_QCOW2_ZERO, 1024, 0);
  assert_run (self.layer, 3072, SNAP_QCOW2_COMPRESSED, 1024, 0);
  assert_run (self.layer, 4096, SNAP_QCOW2_UNALLOCATED, 32768 - 4096, 0);
  assert_run (self.layer, 32768, SNAP_QCOW2_UNALLOCATED, 32768 * 2 - 100, 0);
  assert_run (self.layer, 32768 * 3 - 101, SNAP_QCOW2_UNALLOCATED, 1, 0);
}

/* Walk the disk in runs of at most @step bytes. */
static void
assert_agrees (SnapQcow2Layer *layer, const Qcow2Model *model, guint64 step)
{
  for (guint64 at = 0; at < model->size;) {
    SnapQcow2Run run = run_at (layer, at, step);

    for (guint64 i = 0; i < run.length; i += 512) {
      Qcow2Granule granule = qcow2_model_at (model, at + i);

      g_assert_cmpint (run.kind, ==, granule.kind);
      if (run.kind == SNAP_QCOW2_DATA)
        g_assert_cmpuint (run.host_offset + i, ==, granule.location);
    }
    at += run.length;
    g_assert_cmpuint (at, <=, model->size);
  }
}

static void
test_runs_agree_with_a_model (gconstpointer data)
{
  guint version = GPOINTER_TO_UINT (data) & 7;
  Qcow2ImageFlags flags = GPOINTER_TO_UINT (data) >> 3;
  guint cluster_bits = flags ? 14 : 9;
  guint64 size = flags ? 40 * 1024 * 1024 : 200 * 1024 + 512;
  g_autoptr (GRand) random =
      g_rand_new_with_seed ((guint32) g_test_rand_int ());

  for (guint round = 0; round < 8; round++) {
    g_auto (Fixture) self = { 0 };
    g_autoptr (Qcow2Model) model = NULL;

    self.image = qcow2_image_new (version, cluster_bits, size, flags);
    open_layer (&self, size);
    model = qcow2_model_new (self.header);
    qcow2_model_change (model, random, self.header, 1 << (round + 2));
    self.image->l1_offset = qcow2_model_store (model, self.image, random, 0);
    g_clear_pointer (&self.layer, snap_qcow2_layer_close);
    snap_qcow2_header_free (self.header);
    snap_reader_free (self.reader);
    open_layer (&self, size);
    assert_agrees (self.layer, model, G_MAXUINT64);
    assert_agrees (self.layer, model, 512 * 7);
  }
}

static void
test_a_huge_empty_disk_is_one_run (void)
{
  g_auto (Fixture) self = { 0 };

  self.image = qcow2_image_new (3, 21, 0, 0);
  self.image->l1_size = 1;
  open_layer (&self, EXBI);
  assert_run (self.layer, 0, SNAP_QCOW2_UNALLOCATED, EXBI, 0);
  assert_run (self.layer, EXBI - 5, SNAP_QCOW2_UNALLOCATED, 5, 0);
}

/* The largest L1 table there can be, empty but for its last entry. */
static void
test_absent_tables_are_joined (void)
{
  const guint64 n = SNAP_QCOW2_MAX_L1_BYTES / 8;
  const guint64 span = 64 * 512;
  g_auto (Fixture) self = { 0 };

  self.image = qcow2_image_new (3, 9, n * span, 0);
  qcow2_image_map (self.image, self.image->l1_offset, n * 64 - 1, 0x1000, 0);
  open_layer (&self, n * span);
  assert_run (self.layer, 7, SNAP_QCOW2_UNALLOCATED, (n - 1) * span - 7, 0);
  assert_run (self.layer, (n - 1) * span, SNAP_QCOW2_UNALLOCATED, span - 512,
              0);
  assert_run (self.layer, n * span - 512, SNAP_QCOW2_DATA, 512, 0x1000);
}

static void
test_entries_past_the_disk_are_not_looked_at (void)
{
  g_auto (Fixture) self = { 0 };

  self.image = qcow2_image_new (3, 9, 32768 * 2, 0);
  qcow2_image_put (self.image, self.image->l1_offset + 8, 8, 0x123);
  open_layer (&self, 32768);
  assert_run (self.layer, 0, SNAP_QCOW2_UNALLOCATED, 32768, 0);
}

/* ---- faults ---- */

static void
assert_open_fails (guint64 l1_entry, SnapError code)
{
  g_autoptr (Qcow2Image) image = qcow2_image_new (3, 12, 1 << 21, 0);
  g_autoptr (SnapReader) reader = NULL;
  g_autoptr (SnapQcow2Header) header = NULL;
  g_autoptr (SnapQcow2Layer) layer = NULL;
  g_autoptr (GError) error = NULL;

  qcow2_image_put (image, image->l1_offset, 8, l1_entry);
  reader = qcow2_image_reader (image);
  header = qcow2_image_header (reader);
  layer = snap_qcow2_layer_open (reader, header, image->l1_offset,
                                 image->l1_size, 1 << 21, &error);
  g_assert_null (layer);
  g_assert_error (error, SNAP_ERROR, (int) code);
}

static void
test_rejects_bad_l1_entries (void)
{
  assert_open_fails (0x1001, SNAP_ERROR_CORRUPT);
  assert_open_fails (0x1100, SNAP_ERROR_CORRUPT);
  assert_open_fails (0x1200, SNAP_ERROR_CORRUPT);
  assert_open_fails (0x1000 | G_GUINT64_CONSTANT (1) << 56, SNAP_ERROR_CORRUPT);
  assert_open_fails (0x1000 | G_GUINT64_CONSTANT (1) << 62, SNAP_ERROR_CORRUPT);
  assert_open_fails (0x2000, SNAP_ERROR_CORRUPT); /* outside the file */
  assert_open_fails (0x00fffffffffff000, SNAP_ERROR_CORRUPT);
}

static void
test_rejects_misplaced_l1_tables (void)
{
  static const struct {
    guint64 l1_offset;
    guint32 l1_size;
    guint64 size;
  } cases[] = {
    { 4097, 1, 512 },
    { 4096, 513, G_GUINT64_CONSTANT (1) << 31 },
    { 8192, 1, 512 },
    { 0xfffffffffffff000, 1, 512 },
    { 4096, G_MAXUINT32, G_MAXINT64 },
    { 4096, 1, (guint64) G_MAXINT64 + 1 },
  };
  g_autoptr (Qcow2Image) image = qcow2_image_new (3, 12, 1 << 21, 0);
  g_autoptr (SnapReader) reader = qcow2_image_reader (image);
  g_autoptr (SnapQcow2Header) header = qcow2_image_header (reader);

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (snap_qcow2_layer_open (reader, header, cases[i].l1_offset,
                                          cases[i].l1_size, cases[i].size,
                                          &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  }
}

static void
test_refuses_external_data (void)
{
  g_autoptr (Qcow2Image) image = qcow2_image_new (3, 12, 1 << 21, 0);
  g_autoptr (SnapReader) reader = NULL;
  g_autoptr (SnapQcow2Header) header = NULL;
  g_autoptr (GError) error = NULL;

  qcow2_image_put (image, 72, 8, 1 << 2);
  reader = qcow2_image_reader (image);
  header = qcow2_image_header (reader);
  g_assert_null (snap_qcow2_layer_open (reader, header, image->l1_offset,
                                        image->l1_size, 1 << 21, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
}

static void
test_rejects_bad_l2_entries (void)
{
  static const struct {
    guint version;
    Qcow2ImageFlags flags;
    guint64 descriptor, subclusters;
  } cases[] = {
    { 3, 0, 0x4200, 0 },                                /* unaligned */
    { 3, 0, 0x4002, 0 },                                /* reserved */
    { 3, 0, 0x4100, 0 },                                /* reserved */
    { 3, 0, 0x4000 | G_GUINT64_CONSTANT (1) << 56, 0 }, /* reserved */
    { 3, 0, 0x4000 | G_GUINT64_CONSTANT (1) << 61, 0 }, /* reserved */
    { 2, 0, 0x4001, 0 },                                /* zero, version 2 */
    { 2, 0, 0x0001, 0 },
    { 3, QCOW2_IMAGE_EXTENDED_L2, 0x4001, 0 }, /* zero flag */
    { 3, QCOW2_IMAGE_EXTENDED_L2, 0x4000, 0x0000000100000001 },
    { 3, QCOW2_IMAGE_EXTENDED_L2, 0, 1 }, /* data nowhere */
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_auto (Fixture) self = { 0 };
    g_autoptr (GError) error = NULL;
    SnapQcow2Run run;

    self.image =
        qcow2_image_new (cases[i].version, 14, 1 << 21, cases[i].flags);
    qcow2_image_map (self.image, self.image->l1_offset, 3, cases[i].descriptor,
                     cases[i].subclusters);
    open_layer (&self, 1 << 21);
    g_assert_false (
        snap_qcow2_layer_run (self.layer, 3 << 14, 1, &run, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
    assert_run (self.layer, 4 << 14, SNAP_QCOW2_UNALLOCATED,
                (1 << 21) - (4 << 14), 0);
  }
}

/* ---- the cache ---- */

static void
test_reads_a_table_once (void)
{
  g_auto (Fixture) self = { 0 };
  g_autoptr (SnapReader) faulty = NULL;
  g_autoptr (SnapQcow2Layer) layer = NULL;
  g_autoptr (GError) error = NULL;
  SnapQcow2Run run;
  guint64 l2;

  self.image = qcow2_image_new (3, 9, 32768 * 2, 0);
  qcow2_image_map (self.image, self.image->l1_offset, 0, 0x1000, 0);
  l2 = qcow2_image_map (self.image, self.image->l1_offset, 64, 0x2000, 0);
  open_layer (&self, 32768 * 2);
  faulty = snap_reader_new_faulty (self.reader, l2);
  layer = snap_qcow2_layer_open (faulty, self.header, self.image->l1_offset,
                                 self.image->l1_size, 32768 * 2, &error);
  g_assert_no_error (error);
  assert_run (layer, 0, SNAP_QCOW2_DATA, 512, 0x1000);
  g_assert_false (snap_qcow2_layer_run (layer, 32768, 1, &run, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_clear_error (&error);

  /* From now on nothing can be read: what is cached still works. */
  ((SnapReader *) faulty)->size = 0;
  assert_run (layer, 0, SNAP_QCOW2_DATA, 512, 0x1000);
  g_assert_false (snap_qcow2_layer_run (layer, 32768, 1, &run, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
}

static void
test_cache_drops_the_oldest (void)
{
  static guint8 data[4096];
  g_autoptr (GBytes) bytes = g_bytes_new_static (data, sizeof data);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);
  SnapQcow2L2Cache *cache = snap_qcow2_l2_cache_new (reader, 512, 3 * 512 + 9);
  g_autoptr (GBytes) first = NULL;

  for (guint64 offset = 0; offset < 4096; offset += 512) {
    g_autoptr (GBytes) table = snap_qcow2_l2_cache_get (cache, offset, NULL);

    /* Used every time, so never the oldest. */
    first = first ? first : snap_qcow2_l2_cache_get (cache, 0, NULL);
    g_bytes_unref (snap_qcow2_l2_cache_get (cache, 0, NULL));
    g_assert_cmpuint (g_bytes_get_size (table), ==, 512);
    g_assert_cmpuint (snap_qcow2_l2_cache_n (cache), ==,
                      MIN (offset / 512 + 1, 3));
  }
  reader->size = 0;
  for (guint64 offset = 0; offset < 4096; offset += 512) {
    g_autoptr (GBytes) table = snap_qcow2_l2_cache_get (cache, offset, NULL);

    g_assert_true ((table != NULL)
                   == (offset == 0 || offset == 3072 || offset == 3584));
    g_assert_true (offset > 0 || table == first);
  }
  snap_qcow2_l2_cache_free (cache);
  g_assert_cmpuint (g_bytes_get_size (first), ==, 512);
}

static void
test_cache_keeps_one_table_at_least (void)
{
  static guint8 data[1024];
  g_autoptr (GBytes) bytes = g_bytes_new_static (data, sizeof data);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);
  SnapQcow2L2Cache *cache = snap_qcow2_l2_cache_new (reader, 512, 1);

  g_bytes_unref (snap_qcow2_l2_cache_get (cache, 0, NULL));
  g_bytes_unref (snap_qcow2_l2_cache_get (cache, 512, NULL));
  g_assert_cmpuint (snap_qcow2_l2_cache_n (cache), ==, 1);
  snap_qcow2_l2_cache_free (cache);
}

typedef struct {
  SnapQcow2L2Cache *cache;
  guint32 seed;
} Worker;

static gpointer
read_tables (gpointer data)
{
  const Worker *worker = data;
  g_autoptr (GRand) random = g_rand_new_with_seed (worker->seed);

  for (guint i = 0; i < 20000; i++) {
    guint index = (guint) g_rand_int_range (random, 0, 16);
    g_autoptr (GBytes) table =
        snap_qcow2_l2_cache_get (worker->cache, index * 512, NULL);
    const guint8 *at = g_bytes_get_data (table, NULL);

    if (at[0] != index || at[511] != index)
      return GINT_TO_POINTER (1);
  }
  return NULL;
}

static void
test_cache_serves_many_threads (void)
{
  static guint8 data[16 * 512];
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (SnapReader) reader = NULL;
  SnapQcow2L2Cache *cache;
  Worker workers[4];
  GThread *threads[4];

  for (guint i = 0; i < sizeof data; i++)
    data[i] = (guint8) (i / 512);
  bytes = g_bytes_new_static (data, sizeof data);
  reader = snap_reader_new_memory (bytes);
  cache = snap_qcow2_l2_cache_new (reader, 512, 5 * 512);
  for (guint i = 0; i < 4; i++) {
    workers[i] = (Worker){ cache, i };
    threads[i] = g_thread_new (NULL, read_tables, &workers[i]);
  }
  for (guint i = 0; i < 4; i++)
    g_assert_null (g_thread_join (threads[i]));
  g_assert_cmpuint (snap_qcow2_l2_cache_n (cache), ==, 5);
  snap_qcow2_l2_cache_free (cache);
}

/* A reader that answers when two reads are under way at once. */
typedef struct {
  SnapReader base;
  GMutex lock;
  GCond cond;
  guint n_reads;
} PairingReader;

static gboolean
read_in_pairs (SnapReader *reader, guint64 offset, void *buffer, gsize length,
               GError **error)
{
  PairingReader *self = (PairingReader *) reader;

  memset (buffer, 7, length);
  g_mutex_lock (&self->lock);
  self->n_reads++;
  g_cond_broadcast (&self->cond);
  while (self->n_reads < 2)
    g_cond_wait (&self->cond, &self->lock);
  g_mutex_unlock (&self->lock);
  return TRUE;
}

static gpointer
get_first_table (gpointer cache)
{
  return snap_qcow2_l2_cache_get (cache, 0, NULL);
}

static void
test_cache_keeps_one_of_two_reads (void)
{
  static const SnapReaderOps ops = { .read_at = read_in_pairs };
  PairingReader reader = { .base = { &ops, 512 } };
  SnapQcow2L2Cache *cache = snap_qcow2_l2_cache_new (&reader.base, 512, 4096);
  GThread *thread = g_thread_new (NULL, get_first_table, cache);
  g_autoptr (GBytes) one = get_first_table (cache);
  g_autoptr (GBytes) two = g_thread_join (thread);
  g_autoptr (GBytes) kept = get_first_table (cache);

  g_assert_cmpuint (reader.n_reads, ==, 2);
  g_assert_cmpuint (snap_qcow2_l2_cache_n (cache), ==, 1);
  g_assert_true (kept == one || kept == two);
  snap_qcow2_l2_cache_free (cache);
  g_assert_true (g_bytes_equal (one, two));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qcow2/layer/joins-what-is-contiguous",
                   test_joins_what_is_contiguous);
  g_test_add_data_func ("/qcow2/layer/runs-agree-with-a-model",
                        GUINT_TO_POINTER (3), test_runs_agree_with_a_model);
  g_test_add_data_func ("/qcow2/layer/runs-agree-with-a-model-version-2",
                        GUINT_TO_POINTER (2), test_runs_agree_with_a_model);
  g_test_add_data_func ("/qcow2/layer/runs-agree-with-a-model-of-subclusters",
                        GUINT_TO_POINTER (3 | QCOW2_IMAGE_EXTENDED_L2 << 3),
                        test_runs_agree_with_a_model);
  g_test_add_func ("/qcow2/layer/a-huge-empty-disk-is-one-run",
                   test_a_huge_empty_disk_is_one_run);
  g_test_add_func ("/qcow2/layer/absent-tables-are-joined",
                   test_absent_tables_are_joined);
  g_test_add_func ("/qcow2/layer/entries-past-the-disk-are-not-looked-at",
                   test_entries_past_the_disk_are_not_looked_at);
  g_test_add_func ("/qcow2/layer/rejects-bad-l1-entries",
                   test_rejects_bad_l1_entries);
  g_test_add_func ("/qcow2/layer/rejects-misplaced-l1-tables",
                   test_rejects_misplaced_l1_tables);
  g_test_add_func ("/qcow2/layer/refuses-external-data",
                   test_refuses_external_data);
  g_test_add_func ("/qcow2/layer/rejects-bad-l2-entries",
                   test_rejects_bad_l2_entries);
  g_test_add_func ("/qcow2/layer/reads-a-table-once", test_reads_a_table_once);
  g_test_add_func ("/qcow2/layer/cache-drops-the-oldest",
                   test_cache_drops_the_oldest);
  g_test_add_func ("/qcow2/layer/cache-keeps-one-table-at-least",
                   test_cache_keeps_one_table_at_least);
  g_test_add_func ("/qcow2/layer/cache-serves-many-threads",
                   test_cache_serves_many_threads);
  g_test_add_func ("/qcow2/layer/cache-keeps-one-of-two-reads",
                   test_cache_keeps_one_of_two_reads);
  return g_test_run ();
}
