/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/memory-store.h"

struct _MemoryWorld {
  GPtrArray *stores; /* MemoryStore */
};

static GMutex world_lock;
static MemoryWorld *world;

void
memory_lock (void)
{
  g_mutex_lock (&world_lock);
}

void
memory_unlock (void)
{
  g_mutex_unlock (&world_lock);
}

/* ---- snaps and stores ---- */

static void
snap_free (MemorySnap *snap)
{
  g_free (snap->name);
  g_free (snap->set_id);
  memory_layer_unref (snap->layer);
  g_free (snap);
}

static MemorySnap *
snap_copy (const MemorySnap *snap)
{
  MemorySnap *copy = g_new (MemorySnap, 1);

  *copy = *snap;
  copy->name = g_strdup (snap->name);
  copy->set_id = g_strdup (snap->set_id);
  copy->layer = snap->layer != NULL ? memory_layer_ref (snap->layer) : NULL;
  return copy;
}

static MemoryStore *
store_new (const char *name, MemoryLayer *live)
{
  MemoryStore *self = g_new0 (MemoryStore, 1);

  self->name = g_strdup (name);
  self->next_id = 1;
  self->live = live;
  self->snaps = g_ptr_array_new_with_free_func ((GDestroyNotify) snap_free);
  return self;
}

static void
store_free (MemoryStore *self)
{
  g_free (self->name);
  memory_layer_unref (self->live);
  memory_layer_unref (self->backing);
  g_ptr_array_unref (self->snaps);
  g_free (self);
}

static MemoryStore *
store_copy (const MemoryStore *self)
{
  MemoryStore *copy =
      store_new (self->name, memory_layer_snapshot (self->live));

  copy->next_id = self->next_id;
  if (self->backing != NULL)
    copy->backing = memory_layer_ref (self->backing);
  for (guint i = 0; i < self->snaps->len; i++)
    g_ptr_array_add (copy->snaps,
                     snap_copy (g_ptr_array_index (self->snaps, i)));
  return copy;
}

MemorySnap *
memory_store_find_set (MemoryStore *self, const char *set_id)
{
  for (guint i = 0; i < self->snaps->len; i++) {
    MemorySnap *snap = g_ptr_array_index (self->snaps, i);

    if (g_strcmp0 (snap->set_id, set_id) == 0)
      return snap;
  }
  return NULL;
}

MemorySnap *
memory_store_add (MemoryStore *self, const char *name, const char *set_id)
{
  MemorySnap *snap = g_new0 (MemorySnap, 1);

  snap->id = self->next_id++;
  snap->name = g_strdup (name);
  snap->set_id = g_strdup (set_id);
  g_ptr_array_add (self->snaps, snap);
  return snap;
}

void
memory_store_drop (MemoryStore *self, MemorySnap *snap)
{
  g_ptr_array_remove (self->snaps, snap);
}

/* ---- the world ---- */

static MemoryWorld *
world_new (void)
{
  MemoryWorld *self = g_new0 (MemoryWorld, 1);

  self->stores = g_ptr_array_new_with_free_func ((GDestroyNotify) store_free);
  return self;
}

void
memory_world_free (MemoryWorld *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref (self->stores);
  g_free (self);
}

MemoryWorld *
memory_world_save (void)
{
  MemoryWorld *copy = world_new ();

  memory_lock ();
  for (guint i = 0; world != NULL && i < world->stores->len; i++)
    g_ptr_array_add (copy->stores,
                     store_copy (g_ptr_array_index (world->stores, i)));
  memory_unlock ();
  return copy;
}

void
memory_world_restore (MemoryWorld *self)
{
  memory_lock ();
  memory_world_free (world);
  world = self;
  memory_unlock ();
}

void
memory_world_clear (void)
{
  memory_world_restore (NULL);
}

MemoryStore *
memory_store_lookup (const char *name)
{
  for (guint i = 0; world != NULL && i < world->stores->len; i++) {
    MemoryStore *store = g_ptr_array_index (world->stores, i);

    if (g_str_equal (store->name, name))
      return store;
  }
  return NULL;
}

/* ---- what a test does to a store ---- */

void
memory_store_create (const char *name, guint64 size)
{
  memory_lock ();
  if (world == NULL)
    world = world_new ();
  g_assert_null (memory_store_lookup (name));
  g_ptr_array_add (world->stores, store_new (name, memory_layer_new (size)));
  memory_unlock ();
}

void
memory_store_destroy (const char *name)
{
  memory_lock ();
  g_ptr_array_remove (world->stores, memory_store_lookup (name));
  memory_unlock ();
}

static MemoryLayer *
lock_live (const char *name)
{
  MemoryStore *store;

  memory_lock ();
  store = memory_store_lookup (name);
  g_assert_nonnull (store);
  return store->live;
}

void
memory_store_write (const char *name, guint64 offset, const void *data,
                    gsize length)
{
  memory_layer_change (lock_live (name), offset, data, length, NULL);
  memory_unlock ();
}

void
memory_store_zero (const char *name, guint64 offset, guint64 length)
{
  memory_layer_change (lock_live (name), offset, NULL, length, memory_zero ());
  memory_unlock ();
}

void
memory_store_discard (const char *name, guint64 offset, guint64 length)
{
  memory_layer_change (lock_live (name), offset, NULL, length, NULL);
  memory_unlock ();
}

void
memory_store_resize (const char *name, guint64 size)
{
  memory_layer_resize (lock_live (name), size);
  memory_unlock ();
}

void
memory_store_make_backing (const char *name)
{
  MemoryLayer *live = lock_live (name);
  MemoryStore *store = memory_store_lookup (name);

  memory_layer_unref (store->backing);
  store->backing = memory_layer_snapshot (live);
  memory_unlock ();
}

void
memory_store_snapshot_by_other (const char *name, const char *snap_name)
{
  MemoryLayer *live = lock_live (name);
  MemorySnap *snap =
      memory_store_add (memory_store_lookup (name), snap_name, NULL);

  snap->layer = memory_layer_snapshot (live);
  snap->state = MEMORY_COMMITTED;
  memory_unlock ();
}

guint
memory_store_n_snaps (const char *name)
{
  guint n;

  lock_live (name);
  n = memory_store_lookup (name)->snaps->len;
  memory_unlock ();
  return n;
}

GBytes *
memory_store_contents (const char *name)
{
  MemoryLayer *live = lock_live (name);
  guint8 *bytes = g_malloc (live->size);
  GBytes *contents;

  memory_layer_read (live, 0, bytes, live->size);
  contents = g_bytes_new_take (bytes, live->size);
  memory_unlock ();
  return contents;
}
