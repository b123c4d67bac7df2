/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract of images: each is what was there at its cut, for one reader
 * or many.
 */
#include "config.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/contract-history.h"
#include "tests/unit/scratch.h"

/* NULL for a point whose data is not to be opened. */
static SnapImage *
open_image (History *history, const Moment *moment)
{
  g_autoptr (GError) error = NULL;
  SnapImage *image = history->volume->driver->open_image (
      history->volume, moment->point, &error);

  if (moment->point->no_image) {
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
    return NULL;
  }
  g_assert_no_error (error);
  g_assert_cmpuint (image->size, ==, g_bytes_get_size (moment->bytes));
  return image;
}

static void
assert_read (SnapImage *image, const Moment *moment, guint64 offset,
             gsize length)
{
  g_autofree guint8 *buffer = g_malloc (length + 1);
  GError *error = NULL;
  gboolean read = image->ops->read_at (image, offset, buffer, length, &error);

  g_assert_no_error (error);
  g_assert_true (read);
  g_assert_cmpmem (buffer, length, moment_bytes (moment) + offset, length);
}

static void
check_random_reads (SnapImage *image, const Moment *moment, guint n_reads)
{
  while (n_reads-- > 0) {
    guint64 offset = history_random (image->size);
    guint64 most = MIN (image->size - offset, 100000);

    assert_read (image, moment, offset, 1 + history_random (most));
  }
}

typedef struct {
  const Moment *moment;
  guint64 at;
} Allocation;

static gboolean
check_extent (const SnapExtent *extent, gpointer data, GError **error)
{
  Allocation *self = data;

  g_assert_cmpuint (extent->offset, ==, self->at);
  g_assert_cmpuint (extent->length, >, 0);
  self->at += extent->length;
  g_assert_cmpuint (self->at, <=, self->moment->point->size);
  if ((extent->flags & SNAP_EXTENT_ZERO) != 0)
    g_assert_true (bytes_are_zero (moment_bytes (self->moment) + extent->offset,
                                   extent->length));
  return TRUE;
}

static void
check_extents (SnapImage *image, const Moment *moment, guint64 offset,
               guint64 length)
{
  Allocation allocation = { moment, offset };
  GError *error = NULL;

  g_assert_true (image->ops->extents (image, offset, length, check_extent,
                                      &allocation, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (allocation.at, ==, offset + length);
}

static void
check_file_range (SnapImage *image, const Moment *moment, guint64 offset)
{
  g_autofree guint8 *buffer = NULL;
  SnapFileRange range;

  if (!snap_image_has_file_range (image)
      || !image->ops->file_range (image, offset, image->size - offset, &range))
    return;
  g_assert_cmpuint (range.length, >, 0);
  g_assert_cmpuint (range.length, <=, image->size - offset);
  buffer = g_malloc (range.length);
  g_assert_cmpint (pread (range.fd, buffer, range.length, range.fd_offset), ==,
                   range.length);
  g_assert_cmpmem (buffer, range.length, moment_bytes (moment) + offset,
                   range.length);
}

static void
test_images_are_what_was_there (gconstpointer storage)
{
  g_autoptr (History) history = history_new (storage);

  for (guint i = history->moments->len; i-- > 0;) {
    const Moment *moment = history_at (history, i);
    SnapImage *image = open_image (history, moment);

    if (image == NULL)
      continue;
    assert_read (image, moment, 0, image->size);
    assert_read (image, moment, image->size - 1, 1);
    check_random_reads (image, moment, 50);
    check_extents (image, moment, 0, image->size);
    for (int round = 0; round < 20; round++) {
      guint64 offset = history_random (image->size);

      check_file_range (image, moment, offset);
      check_extents (image, moment, offset,
                     1 + history_random (image->size - offset));
    }
    image->ops->close (image);
  }
}

static gboolean
take_one (const SnapExtent *extent, gpointer data, GError **error)
{
  *(guint *) data += 1;
  return FALSE;
}

static gboolean
fail_at_once (const SnapExtent *extent, gpointer data, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_CANCELLED, "enough");
}

static void
test_extents_stop_when_told (gconstpointer storage)
{
  g_autoptr (History) history = history_new (storage);
  SnapImage *image = open_image (history, history_at (history, 0));
  g_autoptr (GError) error = NULL;
  guint n = 0;

  g_assert_true (
      image->ops->extents (image, 0, image->size, take_one, &n, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (n, ==, 1);
  g_assert_false (
      image->ops->extents (image, 0, image->size, fail_at_once, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CANCELLED);
  image->ops->close (image);
}

/* ---- paths ---- */

/* Nobody overwrites a snapshot by mistake: its file says so, or its device, or
   what it lies on. */
static void
check_protected (const char *path)
{
  struct stat st;
  int fd;
  int read_only = 0;

  g_assert_cmpint (stat (path, &st), ==, 0);
  if (S_ISBLK (st.st_mode)) {
    fd = open (path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint (ioctl (fd, BLKROGET, &read_only), ==, 0);
    g_assert_cmpint (read_only, ==, 1);
    close (fd);
    return;
  }
  if ((st.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0)
    return;
  fd = open (path, O_WRONLY | O_CLOEXEC);
  g_assert_cmpint (fd, <, 0);
}

/* Whether there is a path. */
static gboolean
check_path (const SnapDriver *driver, SnapVolume *volume, const Moment *moment)
{
  g_autofree char *path = driver->plain_path (volume, moment->point);
  g_autofree char *bytes = NULL;
  GError *error = NULL;
  gsize length;

  if (path == NULL)
    return FALSE;
  g_assert_true (g_path_is_absolute (path));
  if (moment->point->kind == SNAP_POINT_SNAPSHOT)
    check_protected (path);
  g_file_get_contents (path, &bytes, &length, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (bytes, length, moment_bytes (moment),
                   g_bytes_get_size (moment->bytes));
  return TRUE;
}

/* A driver that activates may have none before. */
static void
test_paths_hold_what_was_there (gconstpointer storage)
{
  const SnapDriver *driver = ((const ContractStorage *) storage)->driver;
  g_autoptr (History) history = NULL;
  const SnapPoint *point;
  gboolean found = FALSE;

  history = history_new (storage);
  for (guint i = 0; i < history->moments->len; i++)
    found |= check_path (driver, history->volume, history_at (history, i));
  point = history_at (history, 0)->point;
  contract_remove (history->contract, point);
  g_assert_null (driver->plain_path (history->volume, point));
  g_assert_true (found || SNAP_DRIVER_HAS (driver, activate));
}

/* ---- threads ---- */

typedef struct {
  SnapImage *image;
  const Moment *moment;
  GRand *random;
} Reader;

static gpointer
read_at_random (gpointer data)
{
  Reader *self = data;

  for (int i = 0; i < 100; i++) {
    guint32 offset = g_rand_int_range (self->random, 0, self->image->size);
    guint64 most = MIN (self->image->size - offset, 20000);

    assert_read (self->image, self->moment, offset,
                 g_rand_int_range (self->random, 1, most + 1));
    check_extents (self->image, self->moment, offset, most);
  }
  return NULL;
}

static void
test_many_threads_read_and_compare (gconstpointer storage)
{
  g_autoptr (Scratch) scratch = scratch_new ();
  g_autoptr (SnapState) state = snap_state_new (scratch);
  g_autoptr (History) history = history_new (storage);
  Reader readers[4];
  GThread *threads[G_N_ELEMENTS (readers)];

  for (gsize i = 0; i < G_N_ELEMENTS (readers); i++) {
    readers[i].moment = history_at (history, i / 2);
    readers[i].image = open_image (history, readers[i].moment);
    readers[i].random = g_rand_new_with_seed (g_test_rand_int ());
    threads[i] = g_thread_new ("reader", read_at_random, &readers[i]);
  }
  for (guint to = 1; to < history->moments->len; to++)
    contract_check_pair (history, state, to - 1, to);
  for (gsize i = 0; i < G_N_ELEMENTS (readers); i++) {
    g_thread_join (threads[i]);
    readers[i].image->ops->close (readers[i].image);
    g_rand_free (readers[i].random);
  }
}

const ContractTest contract_image_tests[] = {
  { "images-are-what-was-there", test_images_are_what_was_there },
  { "extents-stop-when-told", test_extents_stop_when_told },
  { "many-threads-read-and-compare", test_many_threads_read_and_compare },
  { NULL, NULL },
};

const ContractTest contract_path_tests[] = {
  { "paths-hold-what-was-there", test_paths_hold_what_was_there },
  { NULL, NULL },
};
