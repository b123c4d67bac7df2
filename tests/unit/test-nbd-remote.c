/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking an NBD server that runs already: a real qemu-nbd on a socket.  Skips
 * where that is not installed.
 */
#include "config.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/child.h"
#include "snapshot-core/os/nbd-source.h"

#define LENGTH (1024 * 1024)
#define DATA_AT (256 * 1024)
#define DATA_LENGTH (64 * 1024)
#define LOOK_MS 5
#define LOOKS 12000

typedef struct {
  char *directory; /* longer than an address of a socket may be */
  char *disk;
  char *socket;
  pid_t server; /* 0: none */
} Bed;

static void
make_disk (const Bed *self)
{
  g_autofree guint8 *data = g_malloc (DATA_LENGTH);
  int fd = g_open (self->disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  memset (data, 7, DATA_LENGTH);
  g_assert_cmpint (ftruncate (fd, LENGTH), ==, 0);
  g_assert_cmpint (pwrite (fd, data, DATA_LENGTH, DATA_AT), ==, DATA_LENGTH);
  close (fd);
}

static SnapNbdSource *
try_connect (const Bed *bed, const char *context, GError **error)
{
  return snap_nbd_source_connect (bed->socket, "qemu-nbd", "",
                                  (const char *const[]){ context, NULL }, 2,
                                  "disk.raw", error);
}

/* The name of its socket is there before it listens. */
static void
await_server (const Bed *self)
{
  for (int i = 0; i < LOOKS; i++) {
    g_autoptr (SnapNbdSource) source = try_connect (self, NULL, NULL);

    if (source != NULL)
      return;
    g_usleep (LOOK_MS * 1000);
  }
  g_error ("qemu-nbd does not listen");
}

static void
start_server (Bed *self)
{
  g_autofree char *program = g_find_program_in_path ("qemu-nbd");
  const char *argv[] = { "qemu-nbd",     "--persistent", "--shared=8",
                         "--format=raw", "--socket",     "socket",
                         "--",           self->disk,     NULL };

  if (program == NULL) {
    g_test_skip ("qemu-nbd is not installed");
    return;
  }
  argv[5] = self->socket;
  self->server = snap_child_start (&(SnapChildSpec){ .argv = argv }, NULL);
  await_server (self);
}

static void
bed_set_up (Bed *self, gconstpointer unused)
{
  g_autofree char *top = g_dir_make_tmp ("test-nbd-XXXXXX", NULL);

  self->directory = g_build_filename (top, "of a short name", NULL);
  g_assert_cmpint (g_mkdir (self->directory, 0700), ==, 0);
  self->disk = g_build_filename (self->directory, "disk.raw", NULL);
  self->socket = g_build_filename (self->directory, "socket", NULL);
  make_disk (self);
  start_server (self);
}

static void
bed_tear_down (Bed *self, gconstpointer unused)
{
  g_autofree char *top = g_path_get_dirname (self->directory);

  if (self->server > 0) {
    kill (self->server, SIGKILL);
    snap_child_reap (self->server, 1000);
  }
  g_unlink (self->socket);
  g_unlink (self->disk);
  g_assert_cmpint (g_rmdir (self->directory), ==, 0);
  g_assert_cmpint (g_rmdir (top), ==, 0);
  g_free (self->directory);
  g_free (self->disk);
  g_free (self->socket);
}

static SnapNbdSource *
must_connect (const Bed *bed, const char *context)
{
  g_autoptr (GError) error = NULL;
  SnapNbdSource *source = try_connect (bed, context, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (snap_nbd_source_size (source), ==, LENGTH);
  return source;
}

static void
test_reads_what_the_server_has (Bed *bed, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  guint8 bytes[2];

  if (bed->server == 0)
    return;
  source = must_connect (bed, NULL);
  g_assert_true (snap_nbd_source_read (source, DATA_AT - 1, bytes, 2, NULL));
  g_assert_cmpuint (bytes[0], ==, 0);
  g_assert_cmpuint (bytes[1], ==, 7);
}

/* The end of each run of one kind, as text. */
static gboolean
note_status (guint64 offset, guint64 length, guint32 flags, gpointer user_data,
             GError **error)
{
  g_string_append_printf (
      user_data, "%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT ":%s ", offset,
      length, (flags & SNAP_NBD_ZERO) != 0 ? "zero" : "data");
  return TRUE;
}

static char *
ask_status (SnapNbdSource *source, guint64 offset, guint64 length)
{
  GString *text = g_string_new (NULL);
  g_autoptr (GError) error = NULL;

  snap_nbd_source_status (source, SNAP_NBD_ALLOCATION, offset, length,
                          note_status, text, &error);
  g_assert_no_error (error);
  return g_string_free (text, FALSE);
}

static void
test_reports_exactly_the_range_that_is_asked_for (Bed *bed,
                                                  gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  g_autofree char *text = NULL;
  g_autofree char *nothing = NULL;

  if (bed->server == 0)
    return;
  source = must_connect (bed, SNAP_NBD_ALLOCATION);
  text = ask_status (source, DATA_AT - 512, DATA_LENGTH + 1024);
  g_assert_cmpstr (text, ==,
                   "261632+512:zero 262144+65536:data 327680+512:zero ");
  nothing = ask_status (source, LENGTH, 0);
  g_assert_cmpstr (nothing, ==, "");
}

static void
test_zeroes_exactly_the_range_that_is_asked_for (Bed *bed, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  guint8 bytes[3];

  if (bed->server == 0)
    return;
  source = must_connect (bed, NULL);
  g_assert_true (snap_nbd_source_zero (source, DATA_AT + 1, 1, NULL));
  g_assert_true (snap_nbd_source_read (source, DATA_AT, bytes, 3, NULL));
  g_assert_cmpmem (bytes, 3, "\7\0\7", 3);
}

static void
test_refuses_what_lies_outside (Bed *bed, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  g_autoptr (GError) error = NULL;

  if (bed->server == 0)
    return;
  source = must_connect (bed, SNAP_NBD_ALLOCATION);
  g_assert_false (snap_nbd_source_status (source, SNAP_NBD_ALLOCATION, LENGTH,
                                          1, note_status, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_false (snap_nbd_source_zero (source, 1, G_MAXUINT64, NULL));
}

static void
test_a_context_that_is_not_offered_is_not_found (Bed *bed, gconstpointer unused)
{
  g_autoptr (GError) error = NULL;

  if (bed->server == 0)
    return;
  g_assert_null (try_connect (bed, "qemu:dirty-bitmap:none", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
}

static void
test_a_server_that_is_gone_is_an_error (Bed *bed, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  g_autoptr (GError) error = NULL;
  guint8 byte;

  if (bed->server == 0)
    return;
  source = must_connect (bed, NULL);
  kill (bed->server, SIGKILL);
  snap_child_wait (bed->server, 10000);
  for (int i = 0; i < 3; i++)
    g_assert_false (snap_nbd_source_read (source, 0, &byte, 1, NULL));
  g_assert_false (snap_nbd_source_read (source, 0, &byte, 1, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_null (try_connect (bed, NULL, NULL));
  g_unlink (bed->socket);
  g_clear_error (&error);
  g_assert_null (try_connect (bed, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
}

static void
test_a_server_that_is_silent_is_given_up (Bed *bed, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;

  if (bed->server == 0)
    return;
  source = must_connect (bed, SNAP_NBD_ALLOCATION);
  snap_nbd_source_set_patience (source, 100);
  kill (bed->server, SIGSTOP);
  for (int i = 0; i < 3; i++) {
    g_autoptr (GError) error = NULL;

    g_assert_false (snap_nbd_source_status (source, SNAP_NBD_ALLOCATION, 0, 1,
                                            note_status, NULL, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
    g_assert_nonnull (strstr (error->message, "did not answer"));
  }
}

#define ADD(name, test) \
  g_test_add ("/nbd-remote/" name, Bed, NULL, bed_set_up, test, bed_tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("reads-what-the-server-has", test_reads_what_the_server_has);
  ADD ("reports-exactly-the-range-that-is-asked-for",
       test_reports_exactly_the_range_that_is_asked_for);
  ADD ("zeroes-exactly-the-range-that-is-asked-for",
       test_zeroes_exactly_the_range_that_is_asked_for);
  ADD ("refuses-what-lies-outside", test_refuses_what_lies_outside);
  ADD ("a-context-that-is-not-offered-is-not-found",
       test_a_context_that_is_not_offered_is_not_found);
  ADD ("a-server-that-is-gone-is-an-error",
       test_a_server_that_is_gone_is_an_error);
  ADD ("a-server-that-is-silent-is-given-up",
       test_a_server_that_is_silent_is_given_up);
  return g_test_run ();
}
