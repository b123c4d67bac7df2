/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many reads at once: every part is there when that is said, once, and what
 * goes wrong is an error with nothing left under way.
 */
#include "config.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"

#define BLOCK 4096
#define N_BLOCKS 1024
#define N_PARTS 500
#define MAX_BLOCKS 4

typedef struct {
  guint8 *data;
  SnapReader *reader;
  int fd; /* of the reader */

  guint8 *room;
  SnapReadPart parts[N_PARTS];
  guint n_done[N_PARTS];
  guint fail_after, n; /* parts; 0: never */
} Fixture;

static void
set_up (Fixture *self, gconstpointer flags)
{
  g_autofree char *path =
      g_build_filename (g_get_tmp_dir (), "manyXXXXXX", NULL);
  snap_autofd int fd = g_mkstemp (path);

  self->data = g_malloc (N_BLOCKS * BLOCK);
  for (gsize i = 0; i < N_BLOCKS * BLOCK; i++)
    self->data[i] = (guint8) (i * 7 + i / BLOCK);
  g_assert_true (snap_fd_write_all (fd, self->data, N_BLOCKS * BLOCK, NULL));
  g_assert_cmpint (fsync (fd), ==, 0);
  self->fd = open (path, O_RDWR | O_CLOEXEC | GPOINTER_TO_INT (flags));
  g_unlink (path);
  if (self->fd < 0) {
    g_test_skip ("no O_DIRECT here");
    return;
  }
  self->reader = snap_file_reader_take (
      self->fd,
      GPOINTER_TO_INT (flags) == 0 ? SNAP_FILE_BUFFERED : SNAP_FILE_DIRECT,
      "many", NULL);
  self->room = g_aligned_alloc (N_PARTS * MAX_BLOCKS, BLOCK, BLOCK);
  for (guint i = 0; i < N_PARTS; i++) {
    gint32 n = g_test_rand_int_range (1, MAX_BLOCKS + 1);

    self->parts[i] = (SnapReadPart){
      .offset = (guint64) g_test_rand_int_range (0, N_BLOCKS - n + 1) * BLOCK,
      .length = (guint64) n * BLOCK,
      .buffer = self->room + (gsize) i * MAX_BLOCKS * BLOCK,
    };
  }
}

static void
tear_down (Fixture *self, gconstpointer flags)
{
  g_clear_pointer (&self->reader, snap_reader_free);
  g_aligned_free (self->room);
  g_free (self->data);
}

static gboolean
check_part (guint index, gpointer fixture, GError **error)
{
  Fixture *self = fixture;
  const SnapReadPart *part = &self->parts[index];

  if (self->fail_after > 0 && self->n == self->fail_after)
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "part %u", index);
  self->n++;
  self->n_done[index]++;
  g_assert_cmpmem (part->buffer, part->length, self->data + part->offset,
                   part->length);
  return TRUE;
}

static gboolean
read_all (Fixture *self, GError **error)
{
  return snap_reader_read_many (self->reader, self->parts, N_PARTS, check_part,
                                self, error);
}

static void
test_says_of_every_part_once (Fixture *self, gconstpointer flags)
{
  g_autoptr (GError) error = NULL;

  if (self->reader == NULL)
    return;
  for (guint round = 1; round <= 3; round++) {
    memset (self->room, 0, N_PARTS * MAX_BLOCKS * BLOCK);
    read_all (self, &error);
    g_assert_no_error (error);
    for (guint i = 0; i < N_PARTS; i++)
      g_assert_cmpuint (self->n_done[i], ==, round);
  }
}

static void
test_takes_parts_of_any_alignment (Fixture *self, gconstpointer flags)
{
  g_autoptr (GError) error = NULL;

  if (self->reader == NULL)
    return;
  self->parts[3].offset += 1;
  self->parts[3].length = 5;
  self->parts[N_PARTS - 1].buffer = (guint8 *) self->room + 17;
  self->parts[N_PARTS - 1].length = 99;
  read_all (self, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (self->n, ==, N_PARTS);
}

static void
test_an_end_that_comes_early_is_an_error (Fixture *self, gconstpointer flags)
{
  g_autoptr (GError) error = NULL;

  if (self->reader == NULL)
    return;
  self->parts[N_PARTS / 2].offset = (N_BLOCKS - 1) * BLOCK;
  self->parts[N_PARTS / 2].length = BLOCK;
  g_assert_cmpint (ftruncate (self->fd, (N_BLOCKS - 1) * BLOCK), ==, 0);
  g_assert_false (read_all (self, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_nonnull (strstr (error->message, "many: ends at offset"));
}

/* And what it has is of use again. */
static void
test_an_error_of_a_part_ends_it (Fixture *self, gconstpointer flags)
{
  g_autoptr (GError) error = NULL;

  if (self->reader == NULL)
    return;
  self->fail_after = 100;
  g_assert_false (read_all (self, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_cmpuint (self->n, ==, 100);
  self->fail_after = 0;
  g_clear_error (&error);
  read_all (self, &error);
  g_assert_no_error (error);
}

static void
test_a_part_outside_is_refused (Fixture *self, gconstpointer flags)
{
  g_autoptr (GError) error = NULL;

  if (self->reader == NULL)
    return;
  self->parts[N_PARTS - 1].offset = N_BLOCKS * BLOCK;
  g_assert_false (read_all (self, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_cmpuint (self->n, ==, 0);
}

static void
add (const char *kind, int flags)
{
  static const struct {
    const char *name;
    void (*func) (Fixture *self, gconstpointer flags);
  } tests[] = {
    { "says-of-every-part-once", test_says_of_every_part_once },
    { "takes-parts-of-any-alignment", test_takes_parts_of_any_alignment },
    { "an-end-that-comes-early-is-an-error",
      test_an_end_that_comes_early_is_an_error },
    { "an-error-of-a-part-ends-it", test_an_error_of_a_part_ends_it },
    { "a-part-outside-is-refused", test_a_part_outside_is_refused },
  };

  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path =
        g_strdup_printf ("/read-many/%s/%s", kind, tests[i].name);

    g_test_add (path, Fixture, GINT_TO_POINTER (flags), set_up, tests[i].func,
                tear_down);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add ("direct", O_DIRECT);
  add ("buffered", 0);
  return g_test_run ();
}
