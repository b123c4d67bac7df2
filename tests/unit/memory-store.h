/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The storage below the memory driver: named, growable byte arrays kept in
 * blocks that are shared until written, as a copy-on-write storage keeps them.
 *
 * All stores together are a world, which can be saved and restored: a test
 * that wants a crash saves it where the crash is to be, and goes on from
 * there as another process would.
 */
#ifndef TESTS_UNIT_MEMORY_STORE_H
#define TESTS_UNIT_MEMORY_STORE_H

#include "tests/unit/memory-layer.h"

typedef enum {
  MEMORY_PREPARED, /* a placeholder: not a point yet */
  MEMORY_CUT,
  MEMORY_COMMITTED,
} MemorySnapState;

typedef struct {
  MemorySnapState state;
  guint64 id;
  char *name;
  char *set_id; /* NULL: made by somebody else */
  MemoryLayer *layer;
} MemorySnap;

typedef struct {
  char *name;
  guint64 next_id;
  MemoryLayer *live;
  MemoryLayer *backing; /* or NULL */
  GPtrArray *snaps;     /* MemorySnap, oldest first */
} MemoryStore;

/* A lock over the world, for whoever looks at a store or changes one. */
void memory_lock (void);
void memory_unlock (void);

/* These want the lock held. */
MemoryStore *memory_store_lookup (const char *name);
MemorySnap *memory_store_find_set (MemoryStore *self, const char *set_id);
MemorySnap *memory_store_add (MemoryStore *self, const char *name,
                              const char *set_id);
void memory_store_drop (MemoryStore *self, MemorySnap *snap);

/* These take it. */
void memory_store_create (const char *name, guint64 size);
void memory_store_destroy (const char *name);
void memory_store_write (const char *name, guint64 offset, const void *data,
                         gsize length);
void memory_store_zero (const char *name, guint64 offset, guint64 length);
void memory_store_discard (const char *name, guint64 offset, guint64 length);
void memory_store_resize (const char *name, guint64 size);
void memory_store_make_backing (const char *name); /* of what it is now */
void memory_store_snapshot_by_other (const char *name, const char *snap);
guint memory_store_n_snaps (const char *name);
GBytes *memory_store_contents (const char *name);

typedef struct _MemoryWorld MemoryWorld;
MemoryWorld *memory_world_save (void);
void memory_world_restore (MemoryWorld *self); /* and free it */
void memory_world_free (MemoryWorld *self);
void memory_world_clear (void); /* no stores */

#endif
