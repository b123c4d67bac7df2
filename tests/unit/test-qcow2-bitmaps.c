/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-bitmaps.h"

#include <string.h>

#include "snapshot-core/base/error.h"
#include "tests/unit/qcow2-image.h"

#define DISK (4096 * 1000)

#define FLAG_IN_USE 1
#define FLAG_AUTO 2
#define FLAG_EXTRA_COMPATIBLE 4

typedef struct {
  const char *name;
  guint32 table_size, flags;
  guint8 type, granularity_bits;
  guint32 extra_length;
} Entry;

static const Entry plain = { .name = "since-mon",
                             .table_size = 3,
                             .flags = FLAG_AUTO,
                             .type = 1,
                             .granularity_bits = 9 };

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
    g_assert_true (bitmap->in_use == (i == 1));
    g_assert_true (bitmap->foreign == (i == 2));
    g_assert_true (bitmap->recording == (i < 2));
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

static void
test_does_not_look_at_a_stale_directory (void)
{
  g_auto (Fixture) self = { 0 };
  g_autoptr (GPtrArray) bitmaps = NULL;

  fixture_init (&self, &plain, 1);
  qcow2_image_put (self.image, 88, 8, 0);
  qcow2_image_put (self.image, 136, 8, G_GUINT64_CONSTANT (1) << 40);
  bitmaps = read_directory (&self, NULL);
  g_assert_nonnull (bitmaps);
  g_assert_cmpuint (bitmaps->len, ==, 0);
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
  g_test_add_func ("/qcow2/bitmaps/does-not-look-at-a-stale-directory",
                   test_does_not_look_at_a_stale_directory);
  return g_test_run ();
}
