/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An exception store of arbitrary bytes: it is refused, or its chunks ascend
 * and the extents of any part of it keep their shape.
 */
#include "config.h"

#include "snapshot-core/format/cow-store.h"
#include "tests/fuzz/fuzz-target.h"

static void
check_order (const GArray *chunks)
{
  for (guint i = 1; i < chunks->len; i++)
    if (g_array_index (chunks, guint64, i - 1)
        > g_array_index (chunks, guint64, i))
      abort ();
}

static void
check_extents (const SnapCowStore *store, const GArray *chunks, guint64 offset,
               guint64 end)
{
  g_autoptr (SnapExtents) extents = snap_extents_new ();

  if (!snap_cow_store_emit (store, chunks, offset, end,
                            snap_extents_append_func, extents, NULL))
    abort ();
  if (snap_extents_n (extents) > 0
      && (snap_extents_at (extents, 0)->offset < offset
          || snap_extents_end (extents) > end))
    abort ();
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (SnapReader) reader = snap_reader_new_memory (bytes);
  g_autoptr (SnapCowStore) store = snap_cow_store_open (reader, "cow", NULL);
  g_autoptr (GArray) chunks = NULL;

  if (store != NULL)
    chunks = snap_cow_store_read (store, G_MAXUINT64, NULL);
  if (chunks == NULL)
    return 0;
  check_order (chunks);
  check_extents (store, chunks, 0, G_MAXINT64);
  check_extents (store, chunks, size, (guint64) size * 3);
  return 0;
}
