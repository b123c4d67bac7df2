/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Short words for tests of exports: a store with three snapshots, served.
 */
#ifndef TESTS_UNIT_MEMORY_EXPORT_H
#define TESTS_UNIT_MEMORY_EXPORT_H

#include "snapshot-core/service/export.h"
#include "tests/unit/memory-volume.h"

/* No whole number of 512-byte blocks, and what it is padded to. */
#define MEMORY_EXPORT_SIZE (4 * MEMORY_BLOCK + 100)
#define MEMORY_EXPORT_PADDED (4 * MEMORY_BLOCK + 512)

/* "memory:disk" of that size, with a backing of holes.  Block 0 holds 'a' at
   mon and tue, block 1 'b' as of tue; at wed block 0 is zero. */
void memory_export_setup (MemoryTest *f, gconstpointer data);

/* Resolve references, each "REF" or "LABEL=REF", up to a NULL. */
SnapExports *memory_export_try (MemoryTest *f, const char *const *references,
                                GError **error);

/* The same, which must work. */
SnapExports *memory_export_resolve (MemoryTest *f,
                                    const char *const *references);
#define MEMORY_EXPORTS(f, ...) \
  memory_export_resolve (f, (const char *const[]){ __VA_ARGS__, NULL })

/* Open one by its name, which must work. */
SnapExport *memory_export_open (SnapExports *exports, const char *name);

#endif
