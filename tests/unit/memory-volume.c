/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/memory-volume.h"

#include <string.h>

#include "tests/unit/scratch.h"

void
memory_test_setup (MemoryTest *self, gconstpointer data)
{
  g_autofree char *directory = NULL;

  self->scratch = scratch_new ();
  directory = g_build_filename (self->scratch, "state", NULL);
  self->state = snap_state_new (directory);
  self->registry = snap_registry_new ();
  g_assert_true (snap_registry_add (self->registry, &memory_driver, NULL));
  g_assert_true (snap_registry_add (self->registry, &memory_driver_slow, NULL));
}

void
memory_test_teardown (MemoryTest *self, gconstpointer data)
{
  snap_registry_free (self->registry);
  snap_state_free (self->state);
  scratch_free (self->scratch);
  memory_driver_reset ();
}

SnapVolume *
memory_test_open (MemoryTest *self, const char *text)
{
  GError *error = NULL;
  g_autoptr (SnapReference) reference =
      snap_reference_parse (self->registry, text, &error);
  SnapVolume *volume;

  g_assert_no_error (error);
  volume = snap_volume_open (self->registry, reference, NULL, &error);
  g_assert_no_error (error);
  return volume;
}

SnapSet *
memory_test_create (MemoryTest *self, const char *name, const char *a,
                    const char *b)
{
  g_autoptr (SnapVolume) one = memory_test_open (self, a);
  g_autoptr (SnapVolume) two = b != NULL ? memory_test_open (self, b) : NULL;
  SnapVolume *volumes[] = { one, two };
  const SnapSetSpec spec = { .name = name };
  GError *error = NULL;
  SnapSet *set = snap_set_create (self->state, volumes, b != NULL ? 2 : 1,
                                  &spec, NULL, &error);

  g_assert_no_error (error);
  return set;
}

SnapPoint *
memory_test_point (MemoryTest *self, SnapVolume *volume, const char *name)
{
  GError *error = NULL;
  SnapPoint *point = snap_volume_find_point (volume, self->state, name, &error);

  g_assert_no_error (error);
  return point;
}

guint
memory_test_n_listed (MemoryTest *self, const char *reference)
{
  g_autoptr (SnapVolume) volume = memory_test_open (self, reference);
  GError *error = NULL;
  g_autoptr (GPtrArray) points = snap_volume_list (volume, self->state, &error);

  g_assert_no_error (error);
  return points->len;
}

guint
memory_test_n_files (MemoryTest *self, const char *part)
{
  g_autofree char *path =
      g_build_filename (snap_state_directory (self->state), part, NULL);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  guint n = 0;

  while (dir != NULL && g_dir_read_name (dir) != NULL)
    n++;
  return n;
}

void
memory_test_fill (const char *store, guint first_block, guint n_blocks,
                  guint8 byte)
{
  gsize length = (gsize) n_blocks * MEMORY_BLOCK;
  g_autofree guint8 *bytes = g_malloc (length);

  memset (bytes, byte, length);
  memory_store_write (store, (guint64) first_block * MEMORY_BLOCK, bytes,
                      length);
}
