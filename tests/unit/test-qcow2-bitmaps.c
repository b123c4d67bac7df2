/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-bitmaps.h"

#include <string.h>

#include "snapshot-core/base/error.h"
#include "tests/unit/qcow2-image.h"

#define GRANULARITY 512
/* Three clusters of 4096 bits, the last one not full. */
#define DISK (GRANULARITY * (2 * 4096 + 1000) - 100)
#define N_BITS (2 * 4096 + 1000)

#define FLAG_IN_USE 1
#define FLAG_AUTO 2
#define FLAG_EXTRA_COMPATIBLE 4

typedef struct {
  const char *name;
  guint32 table_size, flags;
  guint8 type, granularity_bits;
  guint32 extra_length;
} Entry;

static const Entry plain = {
  .name = "since-mon", .table_size = 3, .type = 1, .granularity_bits = 9
};

/* An image with a directory of one bitmap. */
typedef struct {
  Qcow2Image *image;
  guint64 directory, table; /* offsets */
  guint64 directory_bytes;
} Fixture;

static void
fixture_clear (Fixture *self)
{
  g_clear_pointer (&self->image, qcow2_image_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Fixture, fixture_clear)

static void
put_entry (Fixture *self, const Entry *entry)
{
  guint64 at = self->directory + self->directory_bytes;
  guint64 length = 24 + entry->extra_length + strlen (entry->name);

  qcow2_image_put (self->image, at, 8, self->table);
  qcow2_image_put (self->image, at + 8, 4, entry->table_size);
  qcow2_image_put (self->image, at + 12, 4, entry->flags);
  qcow2_image_put (self->image, at + 16, 1, entry->type);
  qcow2_image_put (self->image, at + 17, 1, entry->granularity_bits);
  qcow2_image_put (self->image, at + 18, 2, strlen (entry->name));
  qcow2_image_put (self->image, at + 20, 4, entry->extra_length);
  qcow2_image_put_text (self->image, at + 24 + entry->extra_length,
                        entry->name);
  self->directory_bytes += (length + 7) / 8 * 8;
}

static void
fixture_init (Fixture *self, const Entry *entries, guint n)
{
  self->image = qcow2_image_new (3, 9, DISK, 0);
  self->directory = qcow2_image_add (self->image, 2048);
  self->table = qcow2_image_add (self->image, 512);
  for (guint i = 0; i < n; i++)
    put_entry (self, &entries[i]);
  qcow2_image_put (self->image, 88, 8, 1);
  qcow2_image_put (self->image, 112, 4, 0x23852875);
  qcow2_image_put (self->image, 116, 4, 24);
  qcow2_image_put (self->image, 120, 4, n);
  qcow2_image_put (self->image, 128, 8, self->directory_bytes);
  qcow2_image_put (self->image, 136, 8, self->directory);
}

static GPtrArray *
read_directory (Fixture *self, GError **error)
{
  g_autoptr (SnapReader) reader = qcow2_image_reader (self->image);
  g_autoptr (SnapQcow2Header) header = qcow2_image_header (reader);

  return snap_qcow2_bitmaps_read (reader, header, error);
}

static SnapExtents *
read_extents (Fixture *self, guint index, GError **error)
{
  g_autoptr (SnapReader) reader = qcow2_image_reader (self->image);
  g_autoptr (SnapQcow2Header) header = qcow2_image_header (reader);
  g_autoptr (GPtrArray) bitmaps =
      snap_qcow2_bitmaps_read (reader, header, NULL);

  g_assert_nonnull (bitmaps);
  return snap_qcow2_bitmap_extents (reader, header,
                                    g_ptr_array_index (bitmaps, index), error);
}

static void
assert_extents_refused (Fixture *self, SnapError code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (read_extents (self, 0, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
}

/* ---- the directory ---- */

static void
test_reads_the_directory (void)
{
  const Entry entries[] = {
    plain,
    { "b", 7, FLAG_IN_USE | FLAG_AUTO, 1, 31, 0 },
    { "foreign", 7, 0, 1, 16, 5 },
    { "extra", 7, FLAG_EXTRA_COMPATIBLE, 1, 16, 8 },
  };
  g_auto (Fixture) self = { 0 };
  g_autoptr (GPtrArray) bitmaps = NULL;

  fixture_init (&self, entries, G_N_ELEMENTS (entries));
  bitmaps = read_directory (&self, NULL);
  g_assert_cmpuint (bitmaps->len, ==, G_N_ELEMENTS (entries));
  for (guint i = 0; i < bitmaps->len; i++) {
    const SnapQcow2Bitmap *bitmap = g_ptr_array_index (bitmaps, i);

    g_assert_cmpstr (bitmap->name, ==, entries[i].name);
    g_assert_cmpuint (bitmap->table_offset, ==, self.table);
    g_assert_cmpuint (bitmap->table_size, ==, entries[i].table_size);
    g_assert_true (bitmap->in_use == (i == 1));
    g_assert_true (bitmap->foreign == (i == 2));
    g_assert_cmpuint (bitmap->granularity, ==,
                      G_GUINT64_CONSTANT (1) << entries[i].granularity_bits);
  }
}

static void
assert_directory_refused (Fixture *self)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (read_directory (self, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
}

static void
test_rejects_a_wrong_directory_size (void)
{
  const Entry entries[] = { plain, plain };
  g_auto (Fixture) self = { 0 };

  fixture_init (&self, entries, 2);
  for (guint64 length = 0; length < self.directory_bytes + 20; length++) {
    qcow2_image_put (self.image, 128, 8, length);
    if (length != self.directory_bytes)
      assert_directory_refused (&self);
  }
  qcow2_image_put (self.image, 128, 8, self.directory_bytes);
  g_ptr_array_unref (read_directory (&self, NULL));
  qcow2_image_put (self.image, 136, 8, G_GUINT64_CONSTANT (1) << 40);
  assert_directory_refused (&self);
}

static void
test_rejects_entries_out_of_range (void)
{
  static const struct {
    guint offset, width;
    guint64 value;
  } cases[] = {
    { 12, 4, 8 },           /* flags */
    { 16, 1, 0 },           /* type */
    { 16, 1, 2 },           /* type */
    { 17, 1, 8 },           /* granularity */
    { 17, 1, 32 },          /* granularity */
    { 17, 1, 255 },         /* granularity */
    { 18, 2, 0 },           /* no name */
    { 18, 2, 1024 },        /* name too long */
    { 20, 4, G_MAXUINT32 }, /* extra data */
    { 26, 1, 0 },           /* NUL in the name */
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_auto (Fixture) self = { 0 };

    fixture_init (&self, &plain, 1);
    qcow2_image_put (self.image, 128, 8, 2048); /* room for any of them */
    qcow2_image_put (self.image, self.directory + cases[i].offset,
                     cases[i].width, cases[i].value);
    assert_directory_refused (&self);
  }
}

/* ---- the bits ---- */

static void
set_bit (guint8 *bits, guint index)
{
  bits[index / 8] |= (guint8) (1 << index % 8);
}

static void
assert_extents_are (const SnapExtents *extents, const guint8 *bits)
{
  g_autoptr (SnapExtents) expected = snap_extents_new ();

  for (guint i = 0; i < N_BITS; i++)
    if (bits[i / 8] & (1 << i % 8))
      snap_extents_append (expected, i * GRANULARITY,
                           MIN (GRANULARITY, DISK - i * GRANULARITY),
                           SNAP_EXTENT_DIRTY);
  g_assert_cmpuint (snap_extents_n (extents), ==, snap_extents_n (expected));
  for (gsize i = 0; i < snap_extents_n (extents); i++) {
    const SnapExtent *a = snap_extents_at (extents, i);
    const SnapExtent *b = snap_extents_at (expected, i);

    g_assert_cmpuint (a->offset, ==, b->offset);
    g_assert_cmpuint (a->length, ==, b->length);
    g_assert_cmpuint (a->flags, ==, b->flags);
  }
}

/* Random runs, stored as clusters, or as an entry where a cluster is uniform
   every other time. */
static void
store_bits (Fixture *self, guint8 *bits, guint round)
{
  static const guint8 zeroes[512];
  guint8 ones[512];

  memset (ones, 0xff, sizeof ones);
  for (guint i = 0; i < 3; i++) {
    const guint8 *part = bits + i * 512;
    guint64 entry = qcow2_image_add (self->image, 512);

    memcpy (self->image->bytes->data + entry, part, 512);
    if (round % 2 && memcmp (part, zeroes, 512) == 0)
      entry = 0;
    else if (round % 2 && memcmp (part, ones, 512) == 0)
      entry = 1;
    qcow2_image_put (self->image, self->table + i * 8, 8, entry);
  }
}

static void
test_bits_become_extents (void)
{
  for (guint round = 0; round < 40; round++) {
    g_auto (Fixture) self = { 0 };
    g_autoptr (SnapExtents) extents = NULL;
    guint8 bits[3 * 512] = { 0 };
    guint n_runs = round / 2;

    for (guint run = 0; run < n_runs; run++) {
      guint first = (guint) g_test_rand_int_range (0, N_BITS);
      guint n = (guint) g_test_rand_int_range (1, round % 4 ? 9000 : 70);

      for (guint i = first; i < MIN (first + n, sizeof bits * 8); i++)
        set_bit (bits, i);
    }
    fixture_init (&self, &plain, 1);
    store_bits (&self, bits, round);
    extents = read_extents (&self, 0, NULL);
    g_assert_nonnull (extents);
    assert_extents_are (extents, bits);
  }
}

/* Bits that nobody vouches for are never "nothing dirty". */
static void
test_refuses_what_nobody_vouches_for (void)
{
  const Entry in_use = { "b", 3, FLAG_IN_USE, 1, 9, 0 };
  const Entry foreign = { "b", 3, 0, 1, 9, 4 };
  g_auto (Fixture) used = { 0 };
  g_auto (Fixture) extra = { 0 };

  fixture_init (&used, &in_use, 1);
  assert_extents_refused (&used, SNAP_ERROR_NOT_COMPARABLE);
  fixture_init (&extra, &foreign, 1);
  assert_extents_refused (&extra, SNAP_ERROR_NOT_COMPARABLE);
}

static void
test_refuses_stale_bitmaps (void)
{
  SnapQcow2Bitmap bitmap = { .name = (char *) "b",
                             .table_size = 3,
                             .granularity = GRANULARITY };
  g_auto (Fixture) self = { 0 };
  g_autoptr (SnapReader) reader = NULL;
  g_autoptr (SnapQcow2Header) header = NULL;
  g_autoptr (GPtrArray) bitmaps = NULL;
  g_autoptr (GError) error = NULL;

  fixture_init (&self, &plain, 1);
  qcow2_image_put (self.image, 88, 8, 0);
  reader = qcow2_image_reader (self.image);
  header = qcow2_image_header (reader);
  bitmaps = snap_qcow2_bitmaps_read (reader, header, NULL);
  g_assert_cmpuint (bitmaps->len, ==, 0);
  bitmap.table_offset = self.table;
  g_assert_null (snap_qcow2_bitmap_extents (reader, header, &bitmap, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_COMPARABLE);
}

static void
test_rejects_bad_tables (void)
{
  Entry small = plain;
  g_auto (Fixture) self = { 0 };
  g_auto (Fixture) unaligned = { 0 };
  g_auto (Fixture) outside = { 0 };

  small.table_size = 2;
  fixture_init (&self, &small, 1);
  assert_extents_refused (&self, SNAP_ERROR_CORRUPT);
  fixture_init (&unaligned, &plain, 1);
  qcow2_image_put (unaligned.image, unaligned.directory, 8, 520);
  assert_extents_refused (&unaligned, SNAP_ERROR_CORRUPT);
  fixture_init (&outside, &plain, 1);
  qcow2_image_put (outside.image, outside.directory, 8, 1 << 20);
  assert_extents_refused (&outside, SNAP_ERROR_CORRUPT);
}

static void
test_rejects_bad_table_entries (void)
{
  static const guint64 entries[] = {
    2,
    256,
    513, /* a cluster, and all ones */
    512 | G_GUINT64_CONSTANT (1) << 56,
    G_GUINT64_CONSTANT (1) << 63,
    1 << 20, /* outside the file */
  };

  for (gsize i = 0; i < G_N_ELEMENTS (entries); i++) {
    g_auto (Fixture) self = { 0 };

    fixture_init (&self, &plain, 1);
    qcow2_image_put (self.image, self.table + 16, 8, entries[i]);
    assert_extents_refused (&self, SNAP_ERROR_CORRUPT);
  }
}

/* Or a small file could keep us busy for ever. */
static void
test_rejects_a_cluster_used_twice (void)
{
  g_auto (Fixture) self = { 0 };

  fixture_init (&self, &plain, 1);
  qcow2_image_put (self.image, self.table, 8, 512);
  qcow2_image_put (self.image, self.table + 16, 8, 512);
  assert_extents_refused (&self, SNAP_ERROR_CORRUPT);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qcow2/bitmaps/reads-the-directory",
                   test_reads_the_directory);
  g_test_add_func ("/qcow2/bitmaps/rejects-a-wrong-directory-size",
                   test_rejects_a_wrong_directory_size);
  g_test_add_func ("/qcow2/bitmaps/rejects-entries-out-of-range",
                   test_rejects_entries_out_of_range);
  g_test_add_func ("/qcow2/bitmaps/bits-become-extents",
                   test_bits_become_extents);
  g_test_add_func ("/qcow2/bitmaps/refuses-what-nobody-vouches-for",
                   test_refuses_what_nobody_vouches_for);
  g_test_add_func ("/qcow2/bitmaps/refuses-stale-bitmaps",
                   test_refuses_stale_bitmaps);
  g_test_add_func ("/qcow2/bitmaps/rejects-bad-tables",
                   test_rejects_bad_tables);
  g_test_add_func ("/qcow2/bitmaps/rejects-bad-table-entries",
                   test_rejects_bad_table_entries);
  g_test_add_func ("/qcow2/bitmaps/rejects-a-cluster-used-twice",
                   test_rejects_a_cluster_used_twice);
  return g_test_run ();
}
