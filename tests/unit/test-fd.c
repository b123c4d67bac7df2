/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors, small durable files, lock files and QEMU's image locks: what
 * lives in one file and needs no program.
 */
#include "config.h"

#include "snapshot-core/os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/image-lock.h"
#include "snapshot-core/os/lock-file.h"

typedef struct {
  char *directory;
  char *path; /* of no file yet, in it */
} Scratch;

static void
scratch_set_up (Scratch *self, gconstpointer unused)
{
  self->directory = g_dir_make_tmp ("test-fd-XXXXXX", NULL);
  self->path = g_build_filename (self->directory, "file", NULL);
}

static guint
n_files (Scratch *self)
{
  g_autoptr (GDir) directory = g_dir_open (self->directory, 0, NULL);
  guint n = 0;

  while (g_dir_read_name (directory) != NULL)
    n++;
  return n;
}

static void
scratch_tear_down (Scratch *self, gconstpointer unused)
{
  g_unlink (self->path);
  g_assert_cmpint (g_rmdir (self->directory), ==, 0);
  g_free (self->directory);
  g_free (self->path);
}

static int
must_open (Scratch *self)
{
  int fd = open (self->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  return fd;
}

/* ---- descriptors ---- */

static void
test_scope_closes (Scratch *self, gconstpointer unused)
{
  int number;

  {
    snap_autofd int fd = must_open (self);

    number = fd;
    errno = EXDEV;
  }
  g_assert_cmpint (errno, ==, EXDEV);
  g_assert_cmpint (fcntl (number, F_GETFD), ==, -1);
}

static void
test_stolen_stays_open (Scratch *self, gconstpointer unused)
{
  int number;

  {
    snap_autofd int fd = must_open (self);

    number = snap_fd_steal (&fd);
    g_assert_cmpint (fd, ==, -1);
  }
  g_assert_cmpint (fcntl (number, F_GETFD), !=, -1);
  close (number);
}

static gpointer
read_to_end (gpointer fd)
{
  GByteArray *all = g_byte_array_new ();
  guint8 buffer[30000];
  gssize n;

  while ((n = read (GPOINTER_TO_INT (fd), buffer, sizeof buffer)) != 0) {
    g_byte_array_append (all, buffer, (guint) MAX (n, 0));
    g_usleep (2000);
  }
  return all;
}

static void
do_nothing (int number)
{
}

/* Interrupt what this process waits for, over and over; 0 to stop. */
static void
interrupt_each (suseconds_t interval_us)
{
  const struct sigaction action = { .sa_handler = do_nothing };
  const struct itimerval timer = {
    .it_interval.tv_usec = interval_us,
    .it_value.tv_usec = interval_us,
  };

  sigaction (SIGALRM, &action, NULL); /* no SA_RESTART */
  setitimer (ITIMER_REAL, &timer, NULL);
}

/* Through a small pipe to a slow reader, under signals: many a write is
   short or does nothing. */
static void
test_write_all_is_all (void)
{
  g_autofree guint8 *data = g_malloc (300000);
  g_autoptr (GByteArray) arrived = NULL;
  GThread *thread;
  int ends[2];

  for (gsize i = 0; i < 300000; i++)
    data[i] = (guint8) (i * 7 + i / 251);
  g_assert_cmpint (pipe (ends), ==, 0);
  thread = g_thread_new ("read", read_to_end, GINT_TO_POINTER (ends[0]));
  g_assert_cmpint (fcntl (ends[1], F_SETPIPE_SZ, 65536), >, 0);
  interrupt_each (1000);
  g_assert_true (snap_fd_write_all (ends[1], data, 300000, NULL));
  interrupt_each (0);
  close (ends[1]);
  arrived = g_thread_join (thread);
  g_assert_cmpmem (arrived->data, arrived->len, data, 300000);
  close (ends[0]);
}

static void
test_write_to_a_full_disk_fails (void)
{
  snap_autofd int fd = open ("/dev/full", O_WRONLY);
  g_autoptr (GError) error = NULL;

  g_assert_false (snap_fd_write_all (fd, "x", 1, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NO_SPACE);
}

/* ---- small files ---- */

static void
test_replace_replaces (Scratch *self, gconstpointer unused)
{
  g_autofree char *text = NULL;
  struct stat st;

  g_assert_true (snap_file_replace (self->path, "one, longer\n", NULL));
  g_assert_true (snap_file_replace (self->path, "two\n", NULL));
  g_assert_true (g_file_get_contents (self->path, &text, NULL, NULL));
  g_assert_cmpstr (text, ==, "two\n");
  g_assert_cmpuint (n_files (self), ==, 1);
  g_assert_cmpint (stat (self->path, &st), ==, 0);
  g_assert_cmpuint (st.st_mode & 07777, ==, 0600);
}

static void
test_failed_replace_leaves_nothing (Scratch *self, gconstpointer unused)
{
  g_autofree char *below = g_build_filename (self->path, "below", NULL);
  g_autoptr (GError) error = NULL;

  g_assert_false (snap_file_replace (below, "text", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
  g_clear_error (&error);

  g_mkdir (self->path, 0700); /* a file cannot be renamed over it */
  g_assert_false (snap_file_replace (self->path, "text", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_cmpuint (n_files (self), ==, 1);
  g_rmdir (self->path);
}

static void
test_remove_twice_is_no_error (Scratch *self, gconstpointer unused)
{
  g_autofree char *below = g_build_filename (self->path, "below", NULL);
  g_autoptr (GError) error = NULL;

  g_assert_true (snap_file_replace (self->path, "text", NULL));
  g_assert_true (snap_file_remove (self->path, NULL));
  g_assert_false (g_file_test (self->path, G_FILE_TEST_EXISTS));
  g_assert_true (snap_file_remove (self->path, NULL));
  g_assert_false (snap_file_remove (below, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
}

/* ---- lock files ---- */

static void
assert_busy (Scratch *self, SnapLockMode mode)
{
  g_autofree char *expected =
      g_strdup_printf ("%s: locked by somebody else", self->path);
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (snap_lock_file_take (self->path, mode, &error), ==, -1);
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_BUSY);
  g_assert_cmpstr (error->message, ==, expected);
}

static void
test_exclusive_excludes_all (Scratch *self, gconstpointer unused)
{
  int fd = snap_lock_file_take (self->path, SNAP_LOCK_EXCLUSIVE, NULL);

  g_assert_cmpint (fd, >=, 0);
  assert_busy (self, SNAP_LOCK_EXCLUSIVE);
  assert_busy (self, SNAP_LOCK_SHARED);
  close (fd);
  fd = snap_lock_file_take (self->path, SNAP_LOCK_EXCLUSIVE, NULL);
  g_assert_cmpint (fd, >=, 0);
  close (fd);
}

static void
test_shared_excludes_only_exclusive (Scratch *self, gconstpointer unused)
{
  snap_autofd int one =
      snap_lock_file_take (self->path, SNAP_LOCK_SHARED, NULL);
  snap_autofd int two =
      snap_lock_file_take (self->path, SNAP_LOCK_SHARED, NULL);

  g_assert_cmpint (one, >=, 0);
  g_assert_cmpint (two, >=, 0);
  assert_busy (self, SNAP_LOCK_EXCLUSIVE);
  snap_fd_clear (&one);
  assert_busy (self, SNAP_LOCK_EXCLUSIVE);
  snap_fd_clear (&two);
  one = snap_lock_file_take (self->path, SNAP_LOCK_EXCLUSIVE, NULL);
  g_assert_cmpint (one, >=, 0);
}

static void
test_a_missing_directory_is_not_found (Scratch *self, gconstpointer unused)
{
  g_autofree char *below = g_build_filename (self->path, "below", NULL);
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (snap_lock_file_take (below, SNAP_LOCK_SHARED, &error), ==,
                   -1);
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
}

#define N_LOCKERS 4
#define N_TURNS 300

typedef struct {
  const char *path;
  int n_inside; /* atomic */
  int n_turns;  /* atomic */
} Contest;

/* Takes the lock and removes the file, over and over: if a lock on a removed
   file counted, two would be inside at once. */
static gpointer
lock_and_remove (gpointer data)
{
  Contest *contest = data;

  while (g_atomic_int_get (&contest->n_turns) < N_TURNS) {
    snap_autofd int fd =
        snap_lock_file_take (contest->path, SNAP_LOCK_EXCLUSIVE, NULL);

    if (fd < 0)
      continue;
    g_assert_cmpint (g_atomic_int_add (&contest->n_inside, 1), ==, 0);
    g_thread_yield ();
    g_atomic_int_inc (&contest->n_turns);
    g_atomic_int_add (&contest->n_inside, -1);
    g_unlink (contest->path);
  }
  return NULL;
}

static void
test_a_removed_file_is_never_held (Scratch *self, gconstpointer unused)
{
  Contest contest = { .path = self->path };
  GThread *threads[N_LOCKERS];

  for (int i = 0; i < N_LOCKERS; i++)
    threads[i] = g_thread_new ("locker", lock_and_remove, &contest);
  for (int i = 0; i < N_LOCKERS; i++)
    g_thread_join (threads[i]);
}

/* ---- QEMU's image locks ---- */

static gboolean
lock_byte (int fd, int byte, short type)
{
  struct flock lock = {
    .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
  };

  return fcntl (fd, F_OFD_SETLK, &lock) == 0;
}

/* What QEMU's lock test does for a byte. */
static gboolean
is_locked (int fd, int byte)
{
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
  };

  g_assert_cmpint (fcntl (fd, F_OFD_GETLK, &lock), ==, 0);
  return lock.l_type != F_UNLCK;
}

static void
test_reader_locks_three_bytes (Scratch *self, gconstpointer unused)
{
  snap_autofd int ours = must_open (self), theirs = must_open (self);

  g_assert_true (snap_image_lock_read (ours, "disk", NULL));
  for (int byte = 0; byte < 300; byte++)
    g_assert_cmpint (is_locked (theirs, byte), ==,
                     byte == 100 || byte == 201 || byte == 203);
  snap_image_unlock (ours);
  for (int byte = 0; byte < 300; byte++)
    g_assert_false (is_locked (theirs, byte));
}

static void
test_readers_go_together (Scratch *self, gconstpointer unused)
{
  snap_autofd int one = must_open (self), two = must_open (self);

  g_assert_true (snap_image_lock_read (one, "disk", NULL));
  g_assert_true (snap_image_lock_read (two, "disk", NULL));
}

static void
test_conflicts_are_named (Scratch *self, gconstpointer unused)
{
  static const struct {
    int byte;
    const char *message;
  } cases[] = {
    { 101, "disk: in use by another process (QEMU \"write\" lock)" },
    { 103, "disk: in use by another process (QEMU \"resize\" lock)" },
    { 200, "disk: in use by another process (QEMU lock against \"consistent "
           "read\")" },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    snap_autofd int ours = must_open (self), theirs = must_open (self);
    g_autoptr (GError) error = NULL;

    g_assert_true (lock_byte (theirs, cases[i].byte, F_RDLCK));
    g_assert_false (snap_image_lock_read (ours, "disk", &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_BUSY);
    g_assert_cmpstr (error->message, ==, cases[i].message);
    g_assert_false (is_locked (theirs, 100)); /* nothing stays */
    g_assert_false (is_locked (theirs, 201));
  }
}

static void
test_an_exclusive_lock_is_busy (Scratch *self, gconstpointer unused)
{
  snap_autofd int ours = must_open (self), theirs = must_open (self);
  g_autoptr (GError) error = NULL;

  g_assert_true (lock_byte (theirs, 201, F_WRLCK));
  g_assert_false (snap_image_lock_read (ours, "disk", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_BUSY);
  g_assert_cmpstr (error->message, ==,
                   "disk: in use by another process (exclusive lock on byte "
                   "201)");
  g_assert_false (is_locked (theirs, 100)); /* nothing stays */
}

#define add(path, func) \
  g_test_add (path, Scratch, NULL, scratch_set_up, func, scratch_tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add ("/fd/scope-closes-and-keeps-errno", test_scope_closes);
  add ("/fd/stolen-stays-open", test_stolen_stays_open);
  g_test_add_func ("/fd/write-all-is-all", test_write_all_is_all);
  g_test_add_func ("/fd/write-to-a-full-disk-fails",
                   test_write_to_a_full_disk_fails);
  add ("/file/replace-replaces", test_replace_replaces);
  add ("/file/failed-replace-leaves-nothing",
       test_failed_replace_leaves_nothing);
  add ("/file/remove-twice-is-no-error", test_remove_twice_is_no_error);
  add ("/lock-file/exclusive-excludes-all", test_exclusive_excludes_all);
  add ("/lock-file/shared-excludes-only-exclusive",
       test_shared_excludes_only_exclusive);
  add ("/lock-file/a-missing-directory-is-not-found",
       test_a_missing_directory_is_not_found);
  add ("/lock-file/a-removed-file-is-never-held",
       test_a_removed_file_is_never_held);
  add ("/image-lock/reader-locks-three-bytes", test_reader_locks_three_bytes);
  add ("/image-lock/readers-go-together", test_readers_go_together);
  add ("/image-lock/conflicts-are-named", test_conflicts_are_named);
  add ("/image-lock/an-exclusive-lock-is-busy", test_an_exclusive_lock_is_busy);
  return g_test_run ();
}
