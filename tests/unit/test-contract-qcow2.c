/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract suite on real qcow2 images, changed by qemu-io and qemu-img.
 */
#include "config.h"

#include <glib/gstdio.h>

#include "snapshot-core/drivers/builtin.h"
#include "tests/unit/contract.h"
#include "tests/unit/scratch.h"

#define CLUSTER 4096
#define SIZE (40 * CLUSTER)

typedef struct {
  char *folder;
  char *image;
} Disk;

/* ---- tools ---- */

static void
run (const char *const *argv, char **output)
{
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                output, NULL, &status, &error);
  g_assert_no_error (error);
  g_spawn_check_wait_status (status, &error);
  g_assert_no_error (error);
}

static void
run_io (Disk *disk, char *command)
{
  g_autofree char *owned = command;
  g_autofree char *output = NULL;
  const char *argv[] = { "qemu-io", "-d",  "unmap",     "-f", "qcow2",
                         "-c",      owned, disk->image, NULL };

  run (argv, &output);
}

static void
run_img (Disk *disk, const char *verb, const char *option, const char *value)
{
  g_autofree char *output = NULL;
  const char *argv[] = { "qemu-img", verb, option, value, disk->image, NULL };

  run (argv, &output);
}

/* ---- the storage ---- */

static gpointer
setup (void)
{
  Disk *disk = g_new0 (Disk, 1);
  g_autofree char *output = NULL;
  g_autofree char *size = g_strdup_printf ("%d", SIZE);

  disk->folder = scratch_new ();
  disk->image = g_build_filename (disk->folder, "disk.qcow2", NULL);
  {
    const char *argv[] = {
      "qemu-img", "create",          "-q",        "-f", "qcow2",
      "-o",       "cluster_size=4k", disk->image, size, NULL
    };

    run (argv, &output);
  }
  return disk;
}

static void
teardown (gpointer volume)
{
  Disk *disk = volume;

  scratch_free (disk->folder);
  g_free (disk->image);
  g_free (disk);
}

static const char *
location (gpointer volume)
{
  return ((Disk *) volume)->image;
}

static void
fill (gpointer volume, guint64 offset, guint64 length, guint8 byte)
{
  run_io (volume, g_strdup_printf ("write -q -P %u %" G_GUINT64_FORMAT
                                   " %" G_GUINT64_FORMAT,
                                   byte, offset, length));
}

static void
zero (gpointer volume, guint64 offset, guint64 length)
{
  run_io (volume, g_strdup_printf ("write -q -z %" G_GUINT64_FORMAT
                                   " %" G_GUINT64_FORMAT,
                                   offset, length));
}

static void
discard (gpointer volume, guint64 offset, guint64 length)
{
  run_io (volume, g_strdup_printf ("discard -q %" G_GUINT64_FORMAT
                                   " %" G_GUINT64_FORMAT,
                                   offset, length));
}

static void
resize (gpointer volume, guint64 size)
{
  Disk *disk = volume;
  g_autofree char *output = NULL;
  g_autofree char *text = g_strdup_printf ("%" G_GUINT64_FORMAT, size);
  const char *argv[] = { "qemu-img", "resize",    "-q", "-f", "qcow2",
                         "--shrink", disk->image, text, NULL };

  run (argv, &output);
}

static GBytes *
contents (gpointer volume)
{
  Disk *disk = volume;
  g_autofree char *raw = g_build_filename (disk->folder, "raw", NULL);
  g_autofree char *output = NULL;
  g_autoptr (GError) error = NULL;
  const char *argv[] = { "qemu-img", "convert",   "-f", "qcow2", "-O",
                         "raw",      disk->image, raw,  NULL };
  char *data;
  gsize length;

  run (argv, &output);
  g_file_get_contents (raw, &data, &length, &error);
  g_assert_no_error (error);
  return g_bytes_new_take (data, length);
}

static void
snapshot_by_other (gpointer volume, const char *name)
{
  run_img (volume, "snapshot", "-c", name);
}

/* Lines that start with an id; the rest is the heading. */
static guint
n_traces (gpointer volume)
{
  Disk *disk = volume;
  g_autofree char *output = NULL;
  const char *argv[] = { "qemu-img", "snapshot", "-l", disk->image, NULL };
  g_auto (GStrv) lines = NULL;
  guint n = 0;

  run (argv, &output);
  lines = g_strsplit (output, "\n", -1);
  for (char **line = lines; *line != NULL; line++)
    n += g_ascii_isdigit (**line);
  return n;
}

static void
test_no_tools (void)
{
  g_test_skip ("qemu-img and qemu-io are not installed");
}

int
main (int argc, char **argv)
{
  static const ContractStorage storage = {
    .driver = &snap_driver_qcow2,
    .size = SIZE,
    .unit = 512,
    .n_rounds = 2,
    .setup = setup,
    .teardown = teardown,
    .location = location,
    .write = fill,
    .zero = zero,
    .discard = discard,
    .resize = resize,
    .contents = contents,
    .snapshot_by_other = snapshot_by_other,
    .n_traces = n_traces,
  };
  g_autofree char *img = g_find_program_in_path ("qemu-img");
  g_autofree char *io = g_find_program_in_path ("qemu-io");

  g_test_init (&argc, &argv, NULL);
  if (img != NULL && io != NULL)
    contract_add_tests ("qcow2", &storage);
  else
    g_test_add_func ("/qcow2/contract", test_no_tools);
  return g_test_run ();
}
