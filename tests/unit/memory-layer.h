/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What one point of a memory store holds: blocks that layers share until they
 * are written.
 */
#ifndef TESTS_UNIT_MEMORY_LAYER_H
#define TESTS_UNIT_MEMORY_LAYER_H

#include <glib.h>

#define MEMORY_BLOCK 4096

/* What one point holds: a block is data, NULL for a hole, or memory_zero(). */
typedef struct {
  gatomicrefcount ref_count;
  guint64 size;
  GPtrArray *blocks; /* GBytes of MEMORY_BLOCK bytes */
} MemoryLayer;

MemoryLayer *memory_layer_ref (MemoryLayer *self);
void memory_layer_unref (MemoryLayer *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (MemoryLayer, memory_layer_unref)

/* What @self holds now: it shares all blocks. */
MemoryLayer *memory_layer_snapshot (const MemoryLayer *self);

/* The block at @index, borrowed; NULL past the end. */
GBytes *memory_layer_block (const MemoryLayer *self, guint64 index);
void memory_layer_read (const MemoryLayer *self, guint64 offset, void *buffer,
                        gsize length);

/* A block that is allocated and known to be all zeroes. */
GBytes *memory_zero (void);

/* A new layer of holes. */
MemoryLayer *memory_layer_new (guint64 size);

/* Change a range: to @data, or to zeroes where whole blocks become @whole. */
void memory_layer_change (MemoryLayer *self, guint64 offset, const void *data,
                          guint64 length, GBytes *whole);

void memory_layer_resize (MemoryLayer *self, guint64 size);

#endif
