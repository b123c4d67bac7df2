/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract suite on logical volumes.  Not part of the unit tests: it needs
 * a volume group with extents of 64 KiB that the test around it has made, "VG"
 * for classic snapshots in $NBDSNAP_TEST_CLASSIC, or a thin pool in it,
 * "VG/POOL", in $NBDSNAP_TEST_THIN.
 *
 * A driver's cut() leaves thin snapshots to a window that the services carry
 * out.  Here nobody writes while one is made, so that the window has nothing
 * to do; tests/lvm cuts sets as the services do.
 */
#include "config.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/command.h"
#include "tests/unit/contract.h"

#define SIZE (2 * 1024 * 1024)
#define SIZE_TEXT "2m"
#define EXTENT (64 * 1024) /* as the group was made */
#define ALIGNMENT 4096

typedef struct {
  char *group;
  char *name; /* VG/LV */
  char *path;
} Volume;

/* ---- running LVM ---- */

static char *
run (const char *const *argv)
{
  GError *error = NULL;
  char *output = NULL;

  snap_command_run (argv, NULL, &output, &error);
  g_assert_no_error (error);
  return output;
}

#define RUN(...) g_free (run ((const char *[]){ __VA_ARGS__, NULL }))

/* ---- making and removing ---- */

static Volume *
volume_new (const char *group)
{
  static guint n_volumes;
  Volume *self = g_new0 (Volume, 1);

  self->group = g_strdup (group);
  self->name = g_strdup_printf ("%s/con-tract%u", group, n_volumes++);
  self->path = g_strconcat ("/dev/", self->name, NULL);
  return self;
}

static void
wipe (const Volume *self)
{
  int fd = open (self->path, O_WRONLY | O_CLOEXEC);
  const guint64 range[] = { 0, SIZE };

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ioctl (fd, BLKZEROOUT, range), ==, 0);
  g_assert_cmpint (fsync (fd), ==, 0);
  close (fd);
}

static const char *
bare_name (const Volume *self)
{
  return strchr (self->name, '/') + 1;
}

static gpointer
thin_setup (void)
{
  const char *pool = g_getenv ("NBDSNAP_TEST_THIN");
  g_autofree char *group = g_strndup (pool, strcspn (pool, "/"));
  Volume *self = volume_new (group);

  RUN ("lvcreate", "-q", "-q", "-y", "-V", SIZE_TEXT, "-T", pool, "-n",
       bare_name (self));
  return self;
}

static gpointer
classic_setup (void)
{
  Volume *self = volume_new (g_getenv ("NBDSNAP_TEST_CLASSIC"));

  RUN ("lvcreate", "-q", "-q", "-y", "-Wn", "-Zn", "-L", SIZE_TEXT, "-n",
       bare_name (self), self->group);
  wipe (self);
  return self;
}

static void
volume_free (Volume *self)
{
  g_free (self->group);
  g_free (self->name);
  g_free (self->path);
  g_free (self);
}

/* All that is left of a test goes: it would be found by the next. */
static void
thin_teardown (gpointer volume)
{
  Volume *self = volume;

  RUN ("lvremove", "-q", "-q", "-f", "-S", "segtype=thin", self->group);
  volume_free (self);
}

static void
classic_teardown (gpointer volume)
{
  Volume *self = volume;

  RUN ("lvremove", "-q", "-q", "-f", self->group);
  volume_free (self);
}

static const char *
location (gpointer volume)
{
  return ((Volume *) volume)->name;
}

/* ---- changing ---- */

static guint8 *
aligned_new (gsize length)
{
  return g_aligned_alloc (1, length, ALIGNMENT);
}

static void
fill (gpointer volume, guint64 offset, guint64 length, guint8 byte)
{
  const Volume *self = volume;
  guint8 *bytes = aligned_new (length);
  int fd = open (self->path, O_WRONLY | O_DIRECT | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  memset (bytes, byte, length);
  g_assert_cmpint (pwrite (fd, bytes, length, offset), ==, length);
  close (fd);
  g_aligned_free (bytes);
}

static void
zero (gpointer volume, guint64 offset, guint64 length)
{
  fill (volume, offset, length, 0);
}

static void
discard (gpointer volume, guint64 offset, guint64 length)
{
  const Volume *self = volume;
  int fd = open (self->path, O_WRONLY | O_CLOEXEC);
  const guint64 range[] = { offset, length };

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ioctl (fd, BLKDISCARD, range), ==, 0);
  close (fd);
}

static void
resize (gpointer volume, guint64 size)
{
  const Volume *self = volume;
  g_autofree char *bytes = g_strdup_printf ("%" G_GUINT64_FORMAT "b", size);

  RUN ("lvresize", "-q", "-q", "-f", "-y", "-L", bytes, self->name);
}

static GBytes *
contents (gpointer volume)
{
  const Volume *self = volume;
  int fd = open (self->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  guint64 size = 0;
  guint8 *bytes;

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ioctl (fd, BLKGETSIZE64, &size), ==, 0);
  bytes = aligned_new (size);
  g_assert_cmpint (pread (fd, bytes, size, 0), ==, size);
  close (fd);
  return g_bytes_new_with_free_func (bytes, size, g_aligned_free, bytes);
}

/* ---- looking behind the driver's back ---- */

static guint
n_traces (gpointer volume)
{
  const Volume *self = volume;
  g_autofree char *output = run ((const char *[]){
      "lvs", "-a", "--noheadings", "-o", "lv_name", self->group, NULL });
  guint n = 0;

  for (const char *c = output; *c != '\0'; c++)
    n += *c == '\n';
  return n;
}

static void
take_away (gpointer volume)
{
  const Volume *self = volume;
  g_autofree char *elsewhere = g_strconcat (self->group, "-gone", NULL);

  RUN ("vgrename", "-q", "-q", self->group, elsewhere);
}

static void
bring_back (gpointer volume)
{
  const Volume *self = volume;
  g_autofree char *elsewhere = g_strconcat (self->group, "-gone", NULL);

  RUN ("vgrename", "-q", "-q", elsewhere, self->group);
}

static void
thin_snapshot_by_other (gpointer volume, const char *name)
{
  const Volume *self = volume;

  RUN ("lvcreate", "-q", "-q", "-s", "-pr", "-n", name, self->name);
}

static void
classic_snapshot_by_other (gpointer volume, const char *name)
{
  const Volume *self = volume;

  RUN ("lvcreate", "-q", "-q", "-s", "-pr", "-L", "8m", "-n", name, self->name);
}

static const ContractStorage thin = {
  .driver = &snap_driver_lvm,
  .size = SIZE,
  .unit = EXTENT,
  .n_rounds = 1,
  .setup = thin_setup,
  .teardown = thin_teardown,
  .location = location,
  .write = fill,
  .zero = zero,
  .discard = discard,
  .resize = resize,
  .contents = contents,
  .snapshot_by_other = thin_snapshot_by_other,
  .n_traces = n_traces,
  .take_away = take_away,
  .bring_back = bring_back,
};

static const ContractStorage classic = {
  .driver = &snap_driver_lvm,
  .size = SIZE,
  .unit = 4096,
  .n_rounds = 1,
  .setup = classic_setup,
  .teardown = classic_teardown,
  .location = location,
  .write = fill,
  .zero = zero,
  .contents = contents,
  .snapshot_by_other = classic_snapshot_by_other,
  .n_traces = n_traces,
  .take_away = take_away,
  .bring_back = bring_back,
};

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (g_getenv ("NBDSNAP_TEST_THIN") != NULL)
    contract_add_tests ("thin", &thin);
  if (g_getenv ("NBDSNAP_TEST_CLASSIC") != NULL)
    contract_add_tests ("classic", &classic);
  return g_test_run ();
}
