/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Short words for tests of the services on memory stores: one registry, one
 * state directory, and stores that the next test does not see.
 */
#ifndef TESTS_UNIT_MEMORY_VOLUME_H
#define TESTS_UNIT_MEMORY_VOLUME_H

#include "snapshot-core/service/set.h"
#include "snapshot-core/service/volume.h"
#include "tests/unit/memory-driver.h"
#include "tests/unit/memory-store.h"

typedef struct {
  char *scratch;
  SnapState *state;
  SnapRegistry *registry;
} MemoryTest;

/* For g_test_add(). */
void memory_test_setup (MemoryTest *self, gconstpointer data);
void memory_test_teardown (MemoryTest *self, gconstpointer data);

/* Open "memory:disk" or "slow-memory:disk". */
SnapVolume *memory_test_open (MemoryTest *self, const char *reference);

/* Make a set of one or two volumes ("b" may be NULL), which must work. */
SnapSet *memory_test_create (MemoryTest *self, const char *name, const char *a,
                             const char *b);

SnapPoint *memory_test_point (MemoryTest *self, SnapVolume *volume,
                              const char *name);

/* How many snapshots are listed; how many files there are in a part of the
   state directory. */
guint memory_test_n_listed (MemoryTest *self, const char *reference);
guint memory_test_n_files (MemoryTest *self, const char *part);

/* Fill whole blocks with a byte. */
void memory_test_fill (const char *store, guint first_block, guint n_blocks,
                       guint8 byte);

#endif
