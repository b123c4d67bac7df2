/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading through a real qemu-nbd, and through servers that do not behave.
 * Skips where qemu-nbd is not installed.
 */
#include "config.h"

#include "snapshot-core/os/nbd-source.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/image-lock.h"

#define IMAGE_LENGTH (1024 * 1024)
#define N_CONNECTIONS 4

typedef struct {
  char *directory;
  char *path;
  guint8 *data;
  int fd;
} Image;

static void
image_set_up (Image *self, gconstpointer unused)
{
  self->directory = g_dir_make_tmp ("test-nbd-XXXXXX", NULL);
  self->path = g_build_filename (self->directory, "disk.raw", NULL);
  self->data = g_malloc (IMAGE_LENGTH);
  for (gsize i = 0; i < IMAGE_LENGTH; i++)
    self->data[i] = (guint8) (i * 7 + i / 251);
  self->fd = open (self->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  g_assert_true (snap_fd_write_all (self->fd, self->data, IMAGE_LENGTH, NULL));
}

static void
image_tear_down (Image *self, gconstpointer unused)
{
  snap_fd_clear (&self->fd);
  g_unlink (self->path);
  g_assert_cmpint (g_rmdir (self->directory), ==, 0); /* nothing else in it */
  g_free (self->directory);
  g_free (self->path);
  g_free (self->data);
}

static gboolean
lacks_qemu_nbd (void)
{
  g_autofree char *path = g_find_program_in_path ("qemu-nbd");

  if (path == NULL)
    g_test_skip ("qemu-nbd is not installed");
  return path == NULL;
}

/* The image is passed as a descriptor, as the drivers do. */
static SnapNbdSource *
spawn_qemu_nbd (Image *self, const char *access, const char *export_name,
                GError **error)
{
  const char *argv[] = { "qemu-nbd",   access,
                         "--shared=4", "--format=raw",
                         "--",         "/proc/self/fd/4",
                         NULL };

  return snap_nbd_source_spawn (argv, &self->fd, 1, export_name, N_CONNECTIONS,
                                "disk.raw", error);
}

static SnapNbdSource *
must_spawn (Image *self)
{
  g_autoptr (GError) error = NULL;
  SnapNbdSource *source = spawn_qemu_nbd (self, "--read-only", "", &error);

  g_assert_no_error (error);
  return source;
}

static SnapNbdSource *
spawn_shell (const char *script, GError **error)
{
  const char *argv[] = { "sh", "-c", script, NULL };

  return snap_nbd_source_spawn (argv, NULL, 0, "", 2, "disk.raw", error);
}

static gboolean
is_gone (int pid)
{
  return kill (pid, 0) < 0 && errno == ESRCH;
}

/* ---- a server that is silent ---- */

static void
test_silence_is_an_error (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;

  if (lacks_qemu_nbd ())
    return;
  source = must_spawn (image);
  snap_nbd_source_set_patience (source, 100);
  kill (snap_nbd_source_pid (source), SIGSTOP);
  for (int i = 0; i < N_CONNECTIONS + 1; i++) {
    g_autoptr (GError) error = NULL;
    guint8 byte;

    g_assert_false (snap_nbd_source_read (source, 0, &byte, 1, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
    g_assert_nonnull (strstr (error->message, "qemu-nbd did not answer"));
  }
}

/* ---- a server that works ---- */

static void
assert_reads (SnapNbdSource *source, const Image *image, int n_reads)
{
  for (int i = 0; i < n_reads; i++) {
    gsize offset = (gsize) g_random_int_range (0, IMAGE_LENGTH + 1);
    gsize length =
        (gsize) g_random_int_range (0, (gint32) (IMAGE_LENGTH - offset) + 1);
    g_autofree guint8 *buffer = g_malloc (length);
    g_autoptr (GError) error = NULL;

    snap_nbd_source_read (source, offset, buffer, length, &error);
    g_assert_no_error (error);
    g_assert_cmpmem (buffer, length, image->data + offset, length);
  }
}

static void
test_reads_exactly (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;

  if (lacks_qemu_nbd ())
    return;
  source = must_spawn (image);
  g_assert_cmpuint (snap_nbd_source_size (source), ==, IMAGE_LENGTH);
  assert_reads (source, image, 50);
}

typedef struct {
  SnapNbdSource *source;
  const Image *image;
  GError *error;
} Reading;

static gpointer
read_some (gpointer data)
{
  Reading *reading = data;

  assert_reads (reading->source, reading->image, 20);
  return NULL;
}

static void
test_more_threads_than_connections (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  Reading reading = { .image = image };
  GThread *threads[N_CONNECTIONS * 2];

  if (lacks_qemu_nbd ())
    return;
  reading.source = source = must_spawn (image);
  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("read", read_some, &reading);
  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

static void
test_a_read_may_be_longer_than_a_request (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  gsize length = 33 * 1024 * 1024 + 5;
  g_autofree guint8 *buffer = g_malloc0 (length);

  if (lacks_qemu_nbd ())
    return;
  g_assert_cmpint (ftruncate (image->fd, 40 * 1024 * 1024), ==, 0);
  g_assert_cmpint (pwrite (image->fd, "here", 4, (off_t) length - 4), ==, 4);
  source = must_spawn (image);
  g_assert_true (snap_nbd_source_read (source, 0, buffer, length, NULL));
  g_assert_cmpmem (buffer, IMAGE_LENGTH, image->data, IMAGE_LENGTH);
  g_assert_cmpmem (buffer + length - 4, 4, "here", 4);
}

static void
test_a_range_outside_is_an_error (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  g_autoptr (GError) error = NULL;
  guint8 buffer[2];

  if (lacks_qemu_nbd ())
    return;
  source = must_spawn (image);
  g_assert_false (
      snap_nbd_source_read (source, IMAGE_LENGTH - 1, buffer, 2, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_clear_error (&error);
  g_assert_false (
      snap_nbd_source_read (source, G_MAXUINT64, buffer, 2, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
}

static void
test_close_ends_and_reaps_the_server (Image *image, gconstpointer unused)
{
  SnapNbdSource *source;
  gint64 before;
  int pid;

  if (lacks_qemu_nbd ())
    return;
  source = must_spawn (image);
  pid = snap_nbd_source_pid (source);
  g_assert_cmpint (kill (pid, 0), ==, 0);
  before = g_get_monotonic_time ();
  snap_nbd_source_close (source);
  g_assert_true (is_gone (pid));

  /* By itself: it was neither waited for in vain nor killed. */
  g_assert_cmpint (g_get_monotonic_time () - before, <, 4 * G_USEC_PER_SEC);
}

static void
test_no_socket_stays_in_tmpdir (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  g_autoptr (GDir) directory = NULL;
  g_autofree char *own = g_path_get_basename (image->directory);

  if (lacks_qemu_nbd ())
    return;
  source = must_spawn (image);
  directory = g_dir_open (g_get_tmp_dir (), 0, NULL);
  g_assert_cmpstr (g_dir_read_name (directory), ==, own);
  g_assert_null (g_dir_read_name (directory));
}

/* ---- a server that dies ---- */

static void
assert_names_the_death (const GError *error)
{
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_cmpstr (
      error->message, ==,
      "disk.raw: qemu-nbd ended: it was killed by signal 9 (Killed)");
}

static void
test_reads_fail_after_a_kill (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  int pid;

  if (lacks_qemu_nbd ())
    return;
  source = must_spawn (image);
  pid = snap_nbd_source_pid (source);
  kill (pid, SIGKILL);
  for (int i = 0; i < 3; i++) {
    g_autoptr (GError) error = NULL;
    guint8 byte;

    g_assert_false (snap_nbd_source_read (source, 0, &byte, 1, &error));
    assert_names_the_death (error);
  }
  g_assert_true (is_gone (pid));
}

static gpointer
read_until_error (gpointer data)
{
  Reading *reading = data;
  g_autofree guint8 *buffer = g_malloc (IMAGE_LENGTH);

  while (snap_nbd_source_read (reading->source, 0, buffer, IMAGE_LENGTH,
                               &reading->error))
    ;
  return NULL;
}

/* More readers than connections: some are in a read, some wait for one. */
static void
test_a_kill_ends_every_read_under_way (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) source = NULL;
  Reading readings[N_CONNECTIONS * 2];
  GThread *threads[N_CONNECTIONS * 2];

  if (lacks_qemu_nbd ())
    return;
  source = must_spawn (image);
  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++) {
    readings[i] = (Reading){ source, image, NULL };
    threads[i] = g_thread_new ("read", read_until_error, &readings[i]);
  }
  g_usleep (50000);
  kill (snap_nbd_source_pid (source), SIGKILL);
  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++) {
    g_thread_join (threads[i]);
    assert_names_the_death (readings[i].error);
    g_error_free (readings[i].error);
  }
}

/* ---- a server that does not start ---- */

static void
assert_refused (SnapNbdSource *source, GError **error, const char *expected)
{
  g_assert_null (source);
  g_assert_error (*error, SNAP_ERROR, SNAP_ERROR_IO);
  if (!g_pattern_match_simple (expected, (*error)->message))
    g_error ("\"%s\" is not \"%s\"", (*error)->message, expected);
  g_test_message ("%s", (*error)->message);
}

static void
test_stderr_is_in_the_message (void)
{
  g_autoptr (GError) error = NULL;
  SnapNbdSource *source =
      spawn_shell ("echo 'sh: no good' >&2; exit 3", &error);

  assert_refused (source, &error,
                  "disk.raw: sh ended: no good (exited with 3)");
}

static void
test_a_silent_end_is_an_error (void)
{
  g_autoptr (GError) error = NULL;
  SnapNbdSource *source = spawn_shell ("exit 0", &error);

  assert_refused (source, &error, "disk.raw: sh ended: it exited with 0");
}

static void
test_endless_stderr_costs_nothing (void)
{
  g_autoptr (GError) error = NULL;
  SnapNbdSource *source =
      spawn_shell ("yes 'too much' | head -c 10000000 >&2 || exit 5", &error);

  /* From some point on its writes fail. */
  assert_refused (source, &error,
                  "disk.raw: sh ended: too much (exited with 5)");
}

static void
test_a_missing_server_is_unsupported (void)
{
  const char *argv[] = { "nbdsnap-no-such-program", NULL };
  g_autoptr (GError) error = NULL;

  g_assert_null (
      snap_nbd_source_spawn (argv, NULL, 0, "", 1, "disk.raw", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
  g_assert_cmpstr (error->message, ==,
                   "disk.raw: nbdsnap-no-such-program: no such program");
}

static void
test_a_missing_export_is_an_error (Image *image, gconstpointer unused)
{
  g_autoptr (GError) error = NULL;

  if (lacks_qemu_nbd ())
    return;
  assert_refused (spawn_qemu_nbd (image, "--read-only", "other", &error),
                  &error, "disk.raw: qemu-nbd: *export*other*");
}

/* ---- QEMU's image locks, seen by QEMU ---- */

static void
test_our_lock_keeps_a_qemu_writer_out (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) reader = NULL;
  g_autoptr (GError) error = NULL;

  if (lacks_qemu_nbd ())
    return;
  g_assert_true (snap_image_lock_read (image->fd, "disk.raw", NULL));
  reader = must_spawn (image);
  assert_refused (spawn_qemu_nbd (image, "--discard=ignore", "", &error),
                  &error, "disk.raw: qemu-nbd ended: *\"write\" lock*");
}

static void
test_a_qemu_writer_keeps_our_lock_out (Image *image, gconstpointer unused)
{
  g_autoptr (SnapNbdSource) writer = NULL;
  g_autoptr (GError) error = NULL;

  if (lacks_qemu_nbd ())
    return;
  writer = spawn_qemu_nbd (image, "--discard=ignore", "", &error);
  g_assert_no_error (error);
  g_assert_false (snap_image_lock_read (image->fd, "disk.raw", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_BUSY);
  g_assert_cmpstr (error->message, ==,
                   "disk.raw: in use by another process (QEMU \"write\" lock)");
}

#define add(path, func) \
  g_test_add (path, Image, NULL, image_set_up, func, image_tear_down)

/* A folder of our own for sockets, with a path that is too long for one. */
static char *
use_long_tmpdir (void)
{
  g_autofree char *name = g_strnfill (150, 'x');
  g_autofree char *prefix = g_strconcat (name, "-XXXXXX", NULL);
  const char *parent = g_getenv ("TMPDIR");
  char *path =
      g_build_filename (parent != NULL ? parent : "/tmp", prefix, NULL);

  g_assert_nonnull (g_mkdtemp (path));
  g_setenv ("TMPDIR", path, TRUE);
  return path;
}

int
main (int argc, char **argv)
{
  g_autofree char *tmpdir = use_long_tmpdir ();
  int result;

  g_test_init (&argc, &argv, NULL);
  add ("/nbd-source/silence-is-an-error", test_silence_is_an_error);
  add ("/nbd-source/reads-exactly", test_reads_exactly);
  add ("/nbd-source/more-threads-than-connections",
       test_more_threads_than_connections);
  add ("/nbd-source/a-read-may-be-longer-than-a-request",
       test_a_read_may_be_longer_than_a_request);
  add ("/nbd-source/a-range-outside-is-an-error",
       test_a_range_outside_is_an_error);
  add ("/nbd-source/close-ends-and-reaps-the-server",
       test_close_ends_and_reaps_the_server);
  add ("/nbd-source/no-socket-stays-in-tmpdir", test_no_socket_stays_in_tmpdir);
  add ("/nbd-source/reads-fail-after-a-kill", test_reads_fail_after_a_kill);
  add ("/nbd-source/a-kill-ends-every-read-under-way",
       test_a_kill_ends_every_read_under_way);
  g_test_add_func ("/nbd-source/stderr-is-in-the-message",
                   test_stderr_is_in_the_message);
  g_test_add_func ("/nbd-source/a-silent-end-is-an-error",
                   test_a_silent_end_is_an_error);
  g_test_add_func ("/nbd-source/endless-stderr-costs-nothing",
                   test_endless_stderr_costs_nothing);
  g_test_add_func ("/nbd-source/a-missing-server-is-unsupported",
                   test_a_missing_server_is_unsupported);
  add ("/nbd-source/a-missing-export-is-an-error",
       test_a_missing_export_is_an_error);
  add ("/image-lock/ours-keeps-a-qemu-writer-out",
       test_our_lock_keeps_a_qemu_writer_out);
  add ("/image-lock/a-qemu-writer-keeps-ours-out",
       test_a_qemu_writer_keeps_our_lock_out);
  result = g_test_run ();
  g_assert_cmpint (g_rmdir (tmpdir), ==, 0);
  return result;
}
