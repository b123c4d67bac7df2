/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers over memory and files, the faulty one, and what errno becomes.
 */
#include "config.h"

#include "snapshot-core/base/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"

#define FILE_LENGTH (2 * 1024 * 1024 + 777)

static guint8 *
random_data (gsize length)
{
  guint8 *data = g_malloc (length);

  for (gsize i = 0; i < length; i++)
    data[i] = (guint8) (i * 7 + i / 251);
  return data;
}

/* An unlinked file with @data; under $TMPDIR, opened with @flags. */
static int
file_with (const guint8 *data, gsize length, int flags)
{
  g_autofree char *path =
      g_build_filename (g_get_tmp_dir (), "test-reader-XXXXXX", NULL);
  snap_autofd int fd = g_mkstemp (path);
  int again;

  g_assert_cmpint (fd, >=, 0);
  g_assert_true (snap_fd_write_all (fd, data, length, NULL));
  again = open (path, O_RDWR | O_CLOEXEC | flags);
  g_unlink (path);
  return again;
}

static void
assert_random_reads (SnapReader *reader, const guint8 *data, gsize length)
{
  for (int round = 0; round < 300; round++) {
    gsize offset = (gsize) g_test_rand_int_range (0, (gint32) length + 1);
    gsize most = round % 3 == 0 ? length - offset : MIN (9000, length - offset);
    gsize n = (gsize) g_test_rand_int_range (0, (gint32) most + 1);
    g_autofree guint8 *buffer = g_malloc (n);
    g_autoptr (GError) error = NULL;

    snap_reader_read (reader, offset, buffer, n, &error);
    g_assert_no_error (error);
    g_assert_cmpmem (buffer, n, data + offset, n);
  }
}

static void
test_memory_reads_exactly (void)
{
  g_autofree guint8 *data = random_data (5000);
  g_autoptr (GBytes) bytes = g_bytes_new (data, 5000);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);

  g_assert_cmpuint (reader->size, ==, 5000);
  assert_random_reads (reader, data, 5000);
}

static void
assert_corrupt (SnapReader *reader, guint64 offset, gsize length)
{
  g_autoptr (GError) error = NULL;
  guint8 byte;

  g_assert_false (snap_reader_read (reader, offset, &byte, length, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_clear_error (&error);
  g_assert_null (snap_reader_read_bytes (reader, offset, length, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
}

static void
test_refuses_ranges_outside (void)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static ("0123456789", 10);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);

  assert_corrupt (reader, 0, 11);
  assert_corrupt (reader, 10, 1);
  assert_corrupt (reader, 11, 0);
  assert_corrupt (reader, 1, G_MAXSIZE);
  assert_corrupt (reader, G_MAXUINT64, 2);
}

static void
test_reads_bytes (void)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static ("0123456789", 10);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);
  g_autoptr (GBytes) part = snap_reader_read_bytes (reader, 3, 4, NULL);
  g_autoptr (GBytes) none = snap_reader_read_bytes (reader, 10, 0, NULL);

  g_assert_cmpmem (g_bytes_get_data (part, NULL), g_bytes_get_size (part),
                   "3456", 4);
  g_assert_cmpuint (g_bytes_get_size (none), ==, 0);
}

static void
test_fault_hits_only_its_byte (void)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static ("0123456789", 10);
  g_autoptr (SnapReader) inner = snap_reader_new_memory (bytes);

  for (guint64 bad = 0; bad < 12; bad++) {
    g_autoptr (SnapReader) reader = snap_reader_new_faulty (inner, bad);

    for (guint64 offset = 0; offset < 10; offset++) {
      for (gsize length = 0; length <= 10 - offset; length++) {
        g_autoptr (GError) error = NULL;
        gboolean hit = bad >= offset && bad < offset + length;
        char buffer[10];

        g_assert_true (snap_reader_read (reader, offset, buffer, length, &error)
                       == !hit);
        if (hit)
          g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
      }
    }
  }
}

static void
test_file_reads_exactly (void)
{
  g_autofree guint8 *data = random_data (FILE_LENGTH);
  g_autoptr (SnapReader) reader = snap_file_reader_take (
      file_with (data, FILE_LENGTH, 0), SNAP_FILE_BUFFERED, "file", NULL);

  g_assert_nonnull (reader);
  g_assert_cmpuint (reader->size, ==, FILE_LENGTH);
  g_assert_cmpint (snap_file_reader_fd (reader), >=, 0);
  assert_random_reads (reader, data, FILE_LENGTH);
}

static void
test_direct_reads_any_alignment (void)
{
  g_autofree guint8 *data = random_data (FILE_LENGTH);
  int fd = file_with (data, FILE_LENGTH, O_DIRECT);
  g_autoptr (SnapReader) reader = NULL;

  if (fd < 0) {
    g_test_skip ("TMPDIR has no O_DIRECT");
    return;
  }
  reader = snap_file_reader_take (fd, SNAP_FILE_DIRECT, "file", NULL);
  g_assert_nonnull (reader);
  assert_random_reads (reader, data, FILE_LENGTH);
}

static void
test_a_shrunken_file_is_an_error (gconstpointer mode)
{
  g_autofree guint8 *data = random_data (10000);
  int fd = file_with (data, 10000, 0);
  g_autoptr (SnapReader) reader =
      snap_file_reader_take (fd, GPOINTER_TO_INT (mode), "disk.raw", NULL);
  g_autoptr (GError) error = NULL;
  guint8 buffer[200];

  g_assert_cmpint (ftruncate (fd, 9000), ==, 0);
  g_assert_true (snap_reader_read (reader, 8800, buffer, 200, &error));
  g_assert_false (snap_reader_read (reader, 8801, buffer, 200, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_cmpstr (error->message, ==,
                   "disk.raw: ends at offset 9000, had 10000 bytes");
}

static void
test_a_pipe_is_unsupported_and_closed (void)
{
  g_autoptr (GError) error = NULL;
  int ends[2];

  g_assert_cmpint (pipe (ends), ==, 0);
  g_assert_null (
      snap_file_reader_take (ends[0], SNAP_FILE_BUFFERED, "pipe", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
  g_assert_cmpstr (error->message, ==,
                   "pipe: neither a file nor a block device");
  g_assert_cmpint (fcntl (ends[0], F_GETFD), ==, -1);
  close (ends[1]);
}

static void
test_errno_chooses_the_code (void)
{
  static const struct {
    int errnum;
    SnapError code;
  } cases[] = {
    { ENOENT, SNAP_ERROR_NOT_FOUND }, { ENOSPC, SNAP_ERROR_NO_SPACE },
    { EDQUOT, SNAP_ERROR_NO_SPACE },  { EWOULDBLOCK, SNAP_ERROR_BUSY },
    { EBUSY, SNAP_ERROR_BUSY },       { EACCES, SNAP_ERROR_IO },
    { EIO, SNAP_ERROR_IO },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *expected =
        g_strdup_printf ("a%%b: %s", g_strerror (cases[i].errnum));
    g_autoptr (GError) error = NULL;

    g_assert_false (
        snap_error_set_errno (&error, cases[i].errnum, "%s", "a%b"));
    g_assert_error (error, SNAP_ERROR, (int) cases[i].code);
    g_assert_cmpstr (error->message, ==, expected);
  }
  g_assert_false (snap_error_set_errno (NULL, EIO, "nobody wants to know"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/reader/memory/reads-exactly", test_memory_reads_exactly);
  g_test_add_func ("/reader/refuses-ranges-outside",
                   test_refuses_ranges_outside);
  g_test_add_func ("/reader/reads-bytes", test_reads_bytes);
  g_test_add_func ("/reader/faulty/fault-hits-only-its-byte",
                   test_fault_hits_only_its_byte);
  g_test_add_func ("/reader/file/reads-exactly", test_file_reads_exactly);
  g_test_add_func ("/reader/file/direct-reads-any-alignment",
                   test_direct_reads_any_alignment);
  g_test_add_data_func ("/reader/file/a-shrunken-file-is-an-error",
                        GINT_TO_POINTER (SNAP_FILE_BUFFERED),
                        test_a_shrunken_file_is_an_error);
  g_test_add_data_func ("/reader/file/a-shrunken-file-is-an-error-when-direct",
                        GINT_TO_POINTER (SNAP_FILE_DIRECT),
                        test_a_shrunken_file_is_an_error);
  g_test_add_func ("/reader/file/a-pipe-is-unsupported-and-closed",
                   test_a_pipe_is_unsupported_and_closed);
  g_test_add_func ("/error/errno-chooses-the-code",
                   test_errno_chooses_the_code);
  return g_test_run ();
}
