/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract suite on files of a real file system.  Not part of the unit
 * tests: it needs a directory, in $NBDSNAP_TEST_BTRFS or $NBDSNAP_TEST_REFLINK,
 * on a file system that the test around it has made.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/command.h"
#include "tests/unit/contract.h"

#define SIZE (2 * 1024 * 1024)
#define FILE_NAME "disk.raw"
#define RESERVED_NAME ".nbdsnap"

typedef struct {
  const char *driver;
  char *directory; /* of this volume alone; a subvolume on btrfs */
  char *path;
} Volume;

static void
run (const char *const *argv)
{
  GError *error = NULL;

  snap_command_run (argv, NULL, NULL, &error);
  g_assert_no_error (error);
}

static int
open_disk (const Volume *self)
{
  int fd = open (self->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  return fd;
}

/* ---- making and removing ---- */

static Volume *
volume_new (const char *driver, const char *parent)
{
  static guint n_volumes;
  Volume *self = g_new0 (Volume, 1);

  self->driver = driver;
  self->directory = g_strdup_printf ("%s/volume %u", parent, n_volumes++);
  self->path = g_build_filename (self->directory, FILE_NAME, NULL);
  return self;
}

static void
make_disk (const Volume *self)
{
  int fd = open_disk (self);

  g_assert_cmpint (ftruncate (fd, SIZE), ==, 0);
  close (fd);
}

static gpointer
btrfs_setup (void)
{
  Volume *self = volume_new ("btrfs", g_getenv ("NBDSNAP_TEST_BTRFS"));

  run ((const char *[]){ "btrfs", "subvolume", "create", self->directory,
                         NULL });
  make_disk (self);
  return self;
}

static gpointer
reflink_setup (void)
{
  Volume *self = volume_new ("reflink", g_getenv ("NBDSNAP_TEST_REFLINK"));

  g_assert_cmpint (mkdir (self->directory, 0700), ==, 0);
  make_disk (self);
  return self;
}

static void
delete_subvolume (const char *path)
{
  run ((const char *[]){ "btrfs", "subvolume", "delete", path, NULL });
}

/* The snapshots in the reserved directory are subvolumes, too. */
static void
delete_snapshots (const Volume *self)
{
  g_autofree char *reserved =
      g_build_filename (self->directory, RESERVED_NAME, NULL);
  g_autoptr (GDir) dir = g_dir_open (reserved, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (reserved, name, NULL);

    if (g_file_test (path, G_FILE_TEST_IS_DIR))
      delete_subvolume (path);
  }
}

static void
teardown (gpointer volume)
{
  Volume *self = volume;

  if (g_str_equal (self->driver, "btrfs")) {
    delete_snapshots (self);
    delete_subvolume (self->directory);
  }
  else
    run ((const char *[]){ "rm", "-rf", "--", self->directory, NULL });
  g_free (self->directory);
  g_free (self->path);
  g_free (self);
}

static const char *
location (gpointer volume)
{
  return ((Volume *) volume)->path;
}

/* ---- changing ---- */

static void
fill (gpointer volume, guint64 offset, guint64 length, guint8 byte)
{
  g_autofree guint8 *bytes = g_malloc (length);
  int fd = open_disk (volume);

  memset (bytes, byte, length);
  g_assert_cmpint (pwrite (fd, bytes, length, offset), ==, length);
  close (fd);
}

static void
change_range (gpointer volume, int mode, guint64 offset, guint64 length)
{
  int fd = open_disk (volume);

  g_assert_cmpint (fallocate (fd, mode, offset, length), ==, 0);
  close (fd);
}

static void
zero (gpointer volume, guint64 offset, guint64 length)
{
  change_range (volume, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset,
                length);
}

static void
discard (gpointer volume, guint64 offset, guint64 length)
{
  change_range (volume, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                length);
}

static void
resize (gpointer volume, guint64 size)
{
  g_assert_cmpint (truncate (((Volume *) volume)->path, size), ==, 0);
}

static GBytes *
contents (gpointer volume)
{
  char *data;
  gsize length;
  GError *error = NULL;

  g_file_get_contents (((Volume *) volume)->path, &data, &length, &error);
  g_assert_no_error (error);
  return g_bytes_new_take (data, length);
}

/* ---- looking behind the driver's back ---- */

/* The entries of the reserved directory; "find" walks into no snapshot. */
static guint
n_traces (gpointer volume)
{
  const Volume *self = volume;
  const char *argv[] = { "find", self->directory, "-xdev", "-mindepth",
                         "1",    "-printf",       ".",     NULL };
  g_autofree char *dots = NULL;
  GError *error = NULL;

  snap_command_run (argv, NULL, &dots, &error);
  g_assert_no_error (error);
  return strlen (dots);
}

/* There is a place for it only after a snapshot of ours was made. */
static void
make_reserved (const Volume *self)
{
  g_autofree char *path =
      g_build_filename (self->directory, RESERVED_NAME, NULL);

  if (mkdir (path, 0700) == 0)
    g_assert_cmpint (setxattr (path, "user.nbdsnap.directory", "1", 1, 0), ==,
                     0);
}

static void
btrfs_snapshot_by_other (gpointer volume, const char *name)
{
  const Volume *self = volume;
  g_autofree char *path =
      g_build_filename (self->directory, RESERVED_NAME, name, NULL);

  make_reserved (self);
  run ((const char *[]){ "btrfs", "subvolume", "snapshot", "-r",
                         self->directory, path, NULL });
}

static void
reflink_snapshot_by_other (gpointer volume, const char *name)
{
  const Volume *self = volume;
  g_autofree char *shelf =
      g_build_filename (self->directory, RESERVED_NAME, FILE_NAME, NULL);
  g_autofree char *path = g_build_filename (shelf, name, NULL);

  make_reserved (self);
  g_assert_true (mkdir (shelf, 0700) == 0 || errno == EEXIST);
  run ((const char *[]){ "cp", "--reflink=always", "--", self->path, path,
                         NULL });
}

static const ContractStorage template = {
  .size = SIZE,
  .unit = 512,
  .n_rounds = 3,
  .teardown = teardown,
  .location = location,
  .write = fill,
  .zero = zero,
  .discard = discard,
  .resize = resize,
  .contents = contents,
  .n_traces = n_traces,
};

int
main (int argc, char **argv)
{
  static ContractStorage btrfs;
  static ContractStorage reflink;

  g_test_init (&argc, &argv, NULL);
  btrfs = template;
  btrfs.driver = &snap_driver_btrfs;
  btrfs.setup = btrfs_setup;
  btrfs.snapshot_by_other = btrfs_snapshot_by_other;
  reflink = template;
  reflink.driver = &snap_driver_reflink;
  reflink.setup = reflink_setup;
  reflink.snapshot_by_other = reflink_snapshot_by_other;

  if (g_getenv ("NBDSNAP_TEST_BTRFS") != NULL)
    contract_add_tests ("btrfs", &btrfs);
  if (g_getenv ("NBDSNAP_TEST_REFLINK") != NULL)
    contract_add_tests ("reflink", &reflink);
  return g_test_run ();
}
