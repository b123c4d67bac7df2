/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-l2-cache.h"

typedef struct {
  guint64 offset; /* the key */
  GBytes *table;
  GList link; /* in the queue; its data is this entry */
} Cached;

struct _SnapQcow2L2Cache {
  SnapReader *reader; /* borrowed */
  gsize table_size;
  gsize max_tables;

  GMutex lock;        /* guards the next two; never held while reading */
  GHashTable *tables; /* offset to Cached; owns them */
  GQueue order;       /* links of Cached, the last used one first */
};

static void
cached_free (Cached *self)
{
  g_bytes_unref (self->table);
  g_free (self);
}

SnapQcow2L2Cache *
snap_qcow2_l2_cache_new (SnapReader *reader, gsize table_size, gsize max_bytes)
{
  SnapQcow2L2Cache *self = g_new0 (SnapQcow2L2Cache, 1);

  self->reader = reader;
  self->table_size = table_size;
  self->max_tables = MAX (max_bytes / table_size, 1);
  g_mutex_init (&self->lock);
  self->tables = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL,
                                        (GDestroyNotify) cached_free);
  g_queue_init (&self->order);
  return self;
}

void
snap_qcow2_l2_cache_free (SnapQcow2L2Cache *self)
{
  if (self == NULL)
    return;
  g_hash_table_unref (self->tables);
  g_mutex_clear (&self->lock);
  g_free (self);
}

/* Find a table and make it the last used one. */
static GBytes *
lookup (SnapQcow2L2Cache *self, guint64 offset)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED =
      g_mutex_locker_new (&self->lock);
  Cached *cached = g_hash_table_lookup (self->tables, &offset);

  if (cached == NULL)
    return NULL;
  g_queue_unlink (&self->order, &cached->link);
  g_queue_push_head_link (&self->order, &cached->link);
  return g_bytes_ref (cached->table);
}

static void
drop_oldest (SnapQcow2L2Cache *self)
{
  Cached *oldest = g_queue_pop_tail_link (&self->order)->data;

  g_hash_table_remove (self->tables, &oldest->offset);
}

/* Two threads may read one table at once; the first to come back is kept. */
static void
insert (SnapQcow2L2Cache *self, guint64 offset, GBytes *table)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED =
      g_mutex_locker_new (&self->lock);
  Cached *cached;

  if (g_hash_table_contains (self->tables, &offset))
    return;
  cached = g_new0 (Cached, 1);
  cached->offset = offset;
  cached->table = g_bytes_ref (table);
  cached->link.data = cached;
  g_hash_table_insert (self->tables, &cached->offset, cached);
  g_queue_push_head_link (&self->order, &cached->link);
  if (self->order.length > self->max_tables)
    drop_oldest (self);
}

GBytes *
snap_qcow2_l2_cache_get (SnapQcow2L2Cache *self, guint64 offset, GError **error)
{
  GBytes *table = lookup (self, offset);

  if (table != NULL)
    return table;
  table =
      snap_reader_read_bytes (self->reader, offset, self->table_size, error);
  if (table != NULL)
    insert (self, offset, table);
  return table;
}

gsize
snap_qcow2_l2_cache_n (SnapQcow2L2Cache *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED =
      g_mutex_locker_new (&self->lock);

  return self->order.length;
}
