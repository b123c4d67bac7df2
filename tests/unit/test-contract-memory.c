/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>

#include "tests/unit/contract.h"
#include "tests/unit/memory-driver.h"
#include "tests/unit/memory-store.h"

static gpointer
setup (void)
{
  static guint n_stores;
  char *name = g_strdup_printf ("disk%u", n_stores++);

  memory_store_create (name, 40 * MEMORY_BLOCK);
  return name;
}

static void
teardown (gpointer name)
{
  memory_store_destroy (name);
  g_free (name);
}

static const char *
location (gpointer name)
{
  return name;
}

static void
fill (gpointer name, guint64 offset, guint64 length, guint8 byte)
{
  g_autofree guint8 *bytes = g_malloc (length);

  memset (bytes, byte, length);
  memory_store_write (name, offset, bytes, length);
}

static void
zero (gpointer name, guint64 offset, guint64 length)
{
  memory_store_zero (name, offset, length);
}

static void
discard (gpointer name, guint64 offset, guint64 length)
{
  memory_store_discard (name, offset, length);
}

static void
resize (gpointer name, guint64 size)
{
  memory_store_resize (name, size);
}

static GBytes *
contents (gpointer name)
{
  return memory_store_contents (name);
}

static void
snapshot_by_other (gpointer name, const char *snapshot)
{
  memory_store_snapshot_by_other (name, snapshot);
}

static guint
n_traces (gpointer name)
{
  return memory_store_n_snaps (name);
}

int
main (int argc, char **argv)
{
  static const ContractStorage storage = {
    .driver = &memory_driver,
    .size = 40 * MEMORY_BLOCK,
    .unit = 512,
    .n_rounds = 50,
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

  g_test_init (&argc, &argv, NULL);
  contract_add_tests ("memory", &storage);
  return g_test_run ();
}
