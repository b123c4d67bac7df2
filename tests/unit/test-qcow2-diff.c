/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-layer.h"

#include "snapshot-core/base/error.h"
#include "tests/unit/qcow2-model.h"

#define COPIED (G_GUINT64_CONSTANT (1) << 63)
#define COMPRESSED (G_GUINT64_CONSTANT (1) << 62)
#define SPAN 32768 /* of an L1 entry with 512-byte clusters */

/* An image with two layers of one disk. */
typedef struct {
  Qcow2Image *image;
  guint64 l1[2]; /* offsets of their L1 tables */
  SnapReader *reader;
  SnapQcow2Header *header;
  SnapQcow2Layer *layer[2];
} Pair;

static void
pair_close (Pair *self)
{
  g_clear_pointer (&self->layer[0], snap_qcow2_layer_close);
  g_clear_pointer (&self->layer[1], snap_qcow2_layer_close);
  g_clear_pointer (&self->header, snap_qcow2_header_free);
  g_clear_pointer (&self->reader, snap_reader_free);
}

static void
pair_clear (Pair *self)
{
  pair_close (self);
  g_clear_pointer (&self->image, qcow2_image_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pair, pair_clear)

static void
pair_init (Pair *self, guint64 size)
{
  self->image = qcow2_image_new (3, 9, size, 0);
  self->l1[0] = self->image->l1_offset;
  self->l1[1] = qcow2_image_add (self->image, self->image->l1_size * 8);
}

/* Read both layers from what the image holds now. */
static void
pair_open (Pair *self)
{
  pair_close (self);
  self->reader = qcow2_image_reader (self->image);
  self->header = qcow2_image_header (self->reader);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;

    self->layer[i] = snap_qcow2_layer_open (self->reader, self->header,
                                            self->l1[i], self->image->l1_size,
                                            self->header->size, &error);
    g_assert_no_error (error);
  }
}

static SnapExtents *
diff_range (SnapQcow2Layer *from, SnapQcow2Layer *to, guint64 backing_size,
            guint64 offset, guint64 length)
{
  SnapExtents *extents = snap_extents_new ();
  g_autoptr (GError) error = NULL;

  g_assert_true (snap_qcow2_diff (from, to, backing_size, offset, length,
                                  snap_extents_append_func, extents, &error));
  g_assert_no_error (error);
  return extents;
}

/* ---- one cluster on each side ---- */

typedef enum {
  CLEAN = 0,
  DIRTY = SNAP_EXTENT_DIRTY,
  ZEROED = SNAP_EXTENT_DIRTY | SNAP_EXTENT_ZERO,
} Expected;

static Expected
compare_entries (guint64 from, guint64 to, gboolean has_backing)
{
  g_auto (Pair) pair = { 0 };
  g_autoptr (SnapExtents) extents = NULL;
  const SnapExtent *extent;

  pair_init (&pair, SPAN);
  /* Something else in the tables, so that even empty entries are looked at. */
  qcow2_image_map (pair.image, pair.l1[0], 20, 0x8000, 0);
  qcow2_image_map (pair.image, pair.l1[1], 20, 0x8000, 0);
  qcow2_image_map (pair.image, pair.l1[0], 5, from, 0);
  qcow2_image_map (pair.image, pair.l1[1], 5, to, 0);
  pair_open (&pair);
  extents = diff_range (pair.layer[0], pair.layer[1], has_backing ? SPAN : 0, 0,
                        SPAN);
  if (snap_extents_n (extents) == 0)
    return CLEAN;
  g_assert_cmpuint (snap_extents_n (extents), ==, 1);
  extent = snap_extents_at (extents, 0);
  g_assert_cmpuint (extent->offset, ==, 5 * 512);
  g_assert_cmpuint (extent->length, ==, 512);
  return extent->flags;
}

/* The rules, one a line. */
static void
test_every_pair_of_kinds (void)
{
  static const guint64 absent = 0, zero = 1, zero_kept = 0x4001, a = 0x4000,
                       b = 0x6000, c = COMPRESSED | 0x4003,
                       d = COMPRESSED | 0x4004;
  static const struct {
    guint64 from, to;
    Expected without, with; /* a backing file */
  } cases[] = {
    { absent, absent, CLEAN, CLEAN },
    { absent, zero, CLEAN, ZEROED },
    { absent, zero_kept, CLEAN, ZEROED },
    { absent, a, DIRTY, DIRTY },
    { absent, c, DIRTY, DIRTY },
    { zero, absent, CLEAN, DIRTY },
    { zero, zero, CLEAN, CLEAN },
    { zero, zero_kept, CLEAN, CLEAN },
    { zero, a, DIRTY, DIRTY },
    { zero, c, DIRTY, DIRTY },
    { zero_kept, a, DIRTY, DIRTY },
    { zero_kept, absent, CLEAN, DIRTY },
    { a, absent, ZEROED, DIRTY },
    { a, zero, ZEROED, ZEROED },
    { a, zero_kept, ZEROED, ZEROED },
    { a, a, CLEAN, CLEAN },
    { a, b, DIRTY, DIRTY },
    { a, c, DIRTY, DIRTY },
    { a, a | COPIED, CLEAN, CLEAN },
    { c, absent, ZEROED, DIRTY },
    { c, zero, ZEROED, ZEROED },
    { c, a, DIRTY, DIRTY },
    { c, c, CLEAN, CLEAN },
    { c, d, DIRTY, DIRTY },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_test_message ("0x%" G_GINT64_MODIFIER "x to 0x%" G_GINT64_MODIFIER "x",
                    cases[i].from, cases[i].to);
    g_assert_cmpint (compare_entries (cases[i].from, cases[i].to, FALSE), ==,
                     cases[i].without);
    g_assert_cmpint (compare_entries (cases[i].from, cases[i].to, TRUE), ==,
                     cases[i].with);
  }
}

/* A backing file may end inside a cluster: below, it shows; above, nothing. */
static void
test_a_backing_file_may_end_in_a_cluster (void)
{
  g_auto (Pair) pair = { 0 };
  g_autoptr (SnapExtents) zeroed = NULL;
  g_autoptr (SnapExtents) shown = NULL;

  pair_init (&pair, SPAN);
  qcow2_image_map (pair.image, pair.l1[1], 5, 1, 0);
  pair_open (&pair);
  zeroed = diff_range (pair.layer[0], pair.layer[1], 5 * 512 + 100, 0, SPAN);
  shown = diff_range (pair.layer[1], pair.layer[0], 5 * 512 + 100, 0, SPAN);
  g_assert_cmpuint (snap_extents_bytes (zeroed, ZEROED), ==, 100);
  g_assert_cmpuint (snap_extents_end (zeroed), ==, 5 * 512 + 100);
  g_assert_cmpuint (snap_extents_bytes (shown, DIRTY), ==, 100);
  g_assert_cmpuint (snap_extents_bytes (shown, ZEROED), ==, 0);
  g_assert_cmpuint (snap_extents_end (shown), ==, 5 * 512 + 100);
}

/* ---- against a model ---- */

static gboolean
model_zero (Qcow2Granule granule, gboolean has_backing)
{
  return granule.kind == SNAP_QCOW2_ZERO
         || (granule.kind == SNAP_QCOW2_UNALLOCATED && !has_backing);
}

/* What a diff must say about one byte; a NULL model has nothing allocated. */
static Expected
expect (const Qcow2Model *from, const Qcow2Model *to, guint64 backing_size,
        guint64 offset)
{
  const Qcow2Granule nothing = { SNAP_QCOW2_UNALLOCATED, 0 };
  Qcow2Granule a = from != NULL ? qcow2_model_at (from, offset) : nothing;
  Qcow2Granule b = to != NULL ? qcow2_model_at (to, offset) : nothing;
  gboolean has_backing = offset < backing_size;

  if (model_zero (b, has_backing))
    return model_zero (a, has_backing) ? CLEAN : ZEROED;
  return a.kind == b.kind && a.location == b.location ? CLEAN : DIRTY;
}

static void
assert_diff (SnapQcow2Layer *from, SnapQcow2Layer *to, const Qcow2Model *a,
             const Qcow2Model *b, guint64 backing_size, guint64 offset,
             guint64 length)
{
  g_autoptr (SnapExtents) found =
      diff_range (from, to, backing_size, offset, length);
  g_autoptr (SnapExtents) expected = snap_extents_new ();

  for (guint64 at = offset; at < offset + length;) {
    guint64 next = MIN (at / 512 * 512 + 512, offset + length);

    if (at < backing_size)
      next = MIN (next, backing_size);
    if (expect (a, b, backing_size, at) != CLEAN)
      snap_extents_append (expected, at, next - at,
                           expect (a, b, backing_size, at));
    at = next;
  }
  g_assert_cmpuint (snap_extents_n (found), ==, snap_extents_n (expected));
  for (gsize i = 0; i < snap_extents_n (found); i++) {
    const SnapExtent *x = snap_extents_at (found, i);
    const SnapExtent *y = snap_extents_at (expected, i);

    g_assert_cmpuint (x->offset, ==, y->offset);
    g_assert_cmpuint (x->length, ==, y->length);
    g_assert_cmpuint (x->flags, ==, y->flags);
  }
}

/* All four combinations of sides, over the disk and over a random range. */
static void
assert_all_diffs (const Pair *pair, const Qcow2Model *a, const Qcow2Model *b,
                  guint64 backing_size, GRand *random)
{
  guint64 size = pair->header->size;
  guint64 offset = (guint64) g_rand_int_range (random, 0, (gint32) size);
  guint64 length =
      (guint64) g_rand_int_range (random, 0, (gint32) (size - offset) + 1);
  SnapQcow2Layer *from = pair->layer[0], *to = pair->layer[1];

  assert_diff (from, to, a, b, backing_size, 0, size);
  assert_diff (to, from, b, a, backing_size, 0, size);
  assert_diff (from, to, a, b, backing_size, offset, length);
  assert_diff (NULL, to, NULL, b, backing_size, 0, size);
  assert_diff (from, NULL, a, NULL, backing_size, offset, length);
}

static void
test_agrees_with_a_model (gconstpointer data)
{
  guint version = GPOINTER_TO_UINT (data) & 7;
  Qcow2ImageFlags flags = GPOINTER_TO_UINT (data) >> 3;
  guint cluster_bits = flags ? 14 : 9;
  guint64 size = flags ? 17 * 1024 * 1024 + 512 : 4 * SPAN + 1536;
  g_autoptr (GRand) random =
      g_rand_new_with_seed ((guint32) g_test_rand_int ());

  for (guint round = 0; round < 9; round++) {
    g_auto (Pair) pair = { 0 };
    g_autoptr (Qcow2Model) a = NULL;
    g_autoptr (Qcow2Model) b = NULL;

    pair.image = qcow2_image_new (version, cluster_bits, size, flags);
    pair.l1[0] = pair.l1[1] = pair.image->l1_offset;
    pair_open (&pair);
    a = qcow2_model_new (pair.header);
    qcow2_model_change (a, random, pair.header, 1 << round);
    b = qcow2_model_dup (a);
    qcow2_model_change (b, random, pair.header, 1 << (8 - round));
    pair.l1[0] = qcow2_model_store (a, pair.image, random, 0);
    pair.l1[1] =
        qcow2_model_store (b, pair.image, random, round % 2 ? pair.l1[0] : 0);
    pair_open (&pair);
    assert_all_diffs (&pair, a, b, 0, random);
    assert_all_diffs (&pair, a, b, size, random);
    assert_all_diffs (&pair, a, b,
                      (guint64) g_rand_int_range (random, 0, (gint32) size)
                          / 512 * 512,
                      random);
  }
}

/* ---- what is skipped, joined, clipped ---- */

static void
test_equal_l1_entries_are_not_read (void)
{
  g_auto (Pair) pair = { 0 };
  g_autoptr (SnapReader) faulty = NULL;
  g_autoptr (SnapQcow2Layer) layer = NULL;
  g_autoptr (SnapExtents) extents = NULL;
  guint64 l2;

  pair_init (&pair, SPAN * 2);
  l2 = qcow2_image_map (pair.image, pair.l1[0], 0, 0x4000, 0);
  qcow2_image_put (pair.image, pair.l1[1], 8, l2 | COPIED);
  qcow2_image_map (pair.image, pair.l1[1], 127, 0x4000, 0);
  pair_open (&pair);
  faulty = snap_reader_new_faulty (pair.reader, l2 + 7);
  layer = snap_qcow2_layer_open (faulty, pair.header, pair.l1[1], 2, SPAN * 2,
                                 NULL);
  extents = diff_range (pair.layer[0], layer, 0, 0, SPAN * 2);
  g_assert_cmpuint (snap_extents_n (extents), ==, 1);
  g_assert_cmpuint (snap_extents_at (extents, 0)->offset, ==, SPAN * 2 - 512);
}

static gboolean
count_calls (const SnapExtent *extent, gpointer user_data, GError **error)
{
  ++*(guint *) user_data;
  return TRUE;
}

static void
test_neighbours_are_one_extent (void)
{
  g_auto (Pair) pair = { 0 };
  guint n_calls = 0;

  pair_init (&pair, SPAN * 3);
  for (guint64 i = 10; i < 150; i++)
    qcow2_image_map (pair.image, pair.l1[1], i, i * 0x400, 0);
  pair_open (&pair);
  g_assert_true (snap_qcow2_diff (pair.layer[0], pair.layer[1], 0, 0, SPAN * 3,
                                  count_calls, &n_calls, NULL));
  g_assert_cmpuint (n_calls, ==, 1);
}

static void
test_is_clipped_to_its_range (void)
{
  g_auto (Pair) pair = { 0 };
  g_autoptr (SnapExtents) extents = NULL;
  g_autoptr (SnapExtents) nothing = NULL;

  pair_init (&pair, SPAN * 3);
  qcow2_image_map (pair.image, pair.l1[1], 70, 0x4000, 0);
  pair_open (&pair);
  extents = diff_range (pair.layer[0], pair.layer[1], 0, 70 * 512 + 10, 20);
  g_assert_cmpuint (snap_extents_n (extents), ==, 1);
  g_assert_cmpuint (snap_extents_at (extents, 0)->offset, ==, 70 * 512 + 10);
  g_assert_cmpuint (snap_extents_at (extents, 0)->length, ==, 20);
  nothing = diff_range (pair.layer[0], pair.layer[1], 0, 70 * 512, 0);
  g_assert_cmpuint (snap_extents_n (nothing), ==, 0);
}

/* The largest tables that there can be, with one difference at the end. */
static void
test_large_empty_tables_are_quick (void)
{
  const guint64 n = SNAP_QCOW2_MAX_L1_BYTES / 8;
  g_auto (Pair) pair = { 0 };
  g_autoptr (SnapExtents) extents = NULL;

  pair_init (&pair, n * SPAN);
  qcow2_image_map (pair.image, pair.l1[1], n * 64 - 1, 0x4000, 0);
  pair_open (&pair);
  extents = diff_range (pair.layer[0], pair.layer[1], n * SPAN, 0, n * SPAN);
  g_assert_cmpuint (snap_extents_n (extents), ==, 1);
  g_assert_cmpuint (snap_extents_end (extents), ==, n * SPAN);
}

static void
test_a_disk_past_its_tables_is_skipped (void)
{
  const guint64 exbi = G_GUINT64_CONSTANT (1) << 60;
  g_auto (Pair) pair = { 0 };
  g_autoptr (SnapQcow2Layer) from = NULL;
  g_autoptr (SnapQcow2Layer) to = NULL;
  g_autoptr (SnapExtents) extents = NULL;

  pair_init (&pair, SPAN);
  qcow2_image_map (pair.image, pair.l1[1], 0, 1, 0);
  pair_open (&pair);
  from = snap_qcow2_layer_open (pair.reader, pair.header, pair.l1[0], 1, exbi,
                                NULL);
  to = snap_qcow2_layer_open (pair.reader, pair.header, pair.l1[1], 1, exbi,
                              NULL);
  extents = diff_range (from, to, exbi, 0, exbi);
  g_assert_cmpuint (snap_extents_bytes (extents, ZEROED), ==, 512);
  g_assert_cmpuint (snap_extents_end (extents), ==, 512);
}

static void
test_the_backing_file_equals_itself (void)
{
  g_autoptr (SnapExtents) extents = diff_range (NULL, NULL, 100, 0, 1000);

  g_assert_cmpuint (snap_extents_n (extents), ==, 0);
}

/* ---- errors ---- */

static gboolean
fail_to_receive (const SnapExtent *extent, gpointer user_data, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_CANCELLED, "enough");
}

static void
test_passes_errors_of_the_receiver_on (void)
{
  g_auto (Pair) pair = { 0 };
  g_autoptr (GError) error = NULL;

  pair_init (&pair, SPAN);
  qcow2_image_map (pair.image, pair.l1[1], 5, 0x4000, 0);
  pair_open (&pair);
  g_assert_false (snap_qcow2_diff (pair.layer[0], pair.layer[1], 0, 0, SPAN,
                                   fail_to_receive, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CANCELLED);
}

static void
assert_diff_fails (SnapQcow2Layer *from, SnapQcow2Layer *to, SnapError code)
{
  g_autoptr (SnapExtents) extents = snap_extents_new ();
  g_autoptr (GError) error = NULL;

  g_assert_false (snap_qcow2_diff (from, to, 0, 0, SPAN,
                                   snap_extents_append_func, extents, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
}

static void
test_refuses_broken_entries (void)
{
  for (guint side = 0; side < 2; side++) {
    g_auto (Pair) pair = { 0 };

    pair_init (&pair, SPAN);
    qcow2_image_map (pair.image, pair.l1[side], 5, 0x4002, 0);
    pair_open (&pair);
    assert_diff_fails (pair.layer[0], pair.layer[1], SNAP_ERROR_CORRUPT);
    assert_diff_fails (pair.layer[1], pair.layer[0], SNAP_ERROR_CORRUPT);
    assert_diff_fails (NULL, pair.layer[side], SNAP_ERROR_CORRUPT);
  }
}

static void
assert_not_comparable (Pair *pair)
{
  pair_open (pair);
  assert_diff_fails (pair->layer[0], pair->layer[1], SNAP_ERROR_NOT_COMPARABLE);
  assert_diff_fails (pair->layer[1], pair->layer[0], SNAP_ERROR_NOT_COMPARABLE);
}

/* Below a flag that says "nobody else's", writes go to the shared place.  What
   the other side's flag says does not matter. */
static void
test_refuses_what_is_shared_and_written_to (void)
{
  for (guint i = 0; i < 2; i++) {
    guint64 flag = i == 0 ? 0 : COPIED;
    g_auto (Pair) table = { 0 };
    g_auto (Pair) cluster = { 0 };
    guint64 l2;

    pair_init (&table, SPAN);
    l2 = qcow2_image_map (table.image, table.l1[1], 5, 0x4000, 0) / 512 * 512;
    qcow2_image_put (table.image, table.l1[1], 8, l2 | flag);
    qcow2_image_put (table.image, table.image->l1_offset, 8, l2 | COPIED);
    assert_not_comparable (&table);

    pair_init (&cluster, SPAN);
    qcow2_image_map (cluster.image, cluster.image->l1_offset, 5,
                     0x4000 | COPIED, 0);
    qcow2_image_map (cluster.image, cluster.l1[1], 5, 0x4000 | flag, 0);
    assert_not_comparable (&cluster);
  }
}

static void
test_passes_read_errors_on (void)
{
  g_auto (Pair) pair = { 0 };
  g_autoptr (SnapReader) faulty = NULL;
  g_autoptr (SnapQcow2Layer) layer = NULL;
  guint64 l2;

  pair_init (&pair, SPAN);
  l2 = qcow2_image_map (pair.image, pair.l1[1], 0, 0x4000, 0);
  pair_open (&pair);
  faulty = snap_reader_new_faulty (pair.reader, l2 + 511);
  layer =
      snap_qcow2_layer_open (faulty, pair.header, pair.l1[1], 1, SPAN, NULL);
  assert_diff_fails (pair.layer[0], layer, SNAP_ERROR_IO);
  assert_diff_fails (layer, pair.layer[0], SNAP_ERROR_IO);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qcow2/diff/every-pair-of-kinds", test_every_pair_of_kinds);
  g_test_add_func ("/qcow2/diff/a-backing-file-may-end-in-a-cluster",
                   test_a_backing_file_may_end_in_a_cluster);
  g_test_add_data_func ("/qcow2/diff/agrees-with-a-model", GUINT_TO_POINTER (3),
                        test_agrees_with_a_model);
  g_test_add_data_func ("/qcow2/diff/agrees-with-a-model-version-2",
                        GUINT_TO_POINTER (2), test_agrees_with_a_model);
  g_test_add_data_func ("/qcow2/diff/agrees-with-a-model-of-subclusters",
                        GUINT_TO_POINTER (3 | QCOW2_IMAGE_EXTENDED_L2 << 3),
                        test_agrees_with_a_model);
  g_test_add_func ("/qcow2/diff/equal-l1-entries-are-not-read",
                   test_equal_l1_entries_are_not_read);
  g_test_add_func ("/qcow2/diff/neighbours-are-one-extent",
                   test_neighbours_are_one_extent);
  g_test_add_func ("/qcow2/diff/is-clipped-to-its-range",
                   test_is_clipped_to_its_range);
  g_test_add_func ("/qcow2/diff/large-empty-tables-are-quick",
                   test_large_empty_tables_are_quick);
  g_test_add_func ("/qcow2/diff/a-disk-past-its-tables-is-skipped",
                   test_a_disk_past_its_tables_is_skipped);
  g_test_add_func ("/qcow2/diff/the-backing-file-equals-itself",
                   test_the_backing_file_equals_itself);
  g_test_add_func ("/qcow2/diff/passes-errors-of-the-receiver-on",
                   test_passes_errors_of_the_receiver_on);
  g_test_add_func ("/qcow2/diff/refuses-broken-entries",
                   test_refuses_broken_entries);
  g_test_add_func ("/qcow2/diff/refuses-what-is-shared-and-written-to",
                   test_refuses_what_is_shared_and_written_to);
  g_test_add_func ("/qcow2/diff/passes-read-errors-on",
                   test_passes_read_errors_on);
  return g_test_run ();
}
