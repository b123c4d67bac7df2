/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/memory-layer.h"

#include <string.h>

static void
unref_block (gpointer block)
{
  if (block != NULL)
    g_bytes_unref (block);
}

static guint64
n_blocks (guint64 size)
{
  return size / MEMORY_BLOCK + (size % MEMORY_BLOCK > 0);
}

MemoryLayer *
memory_layer_new (guint64 size)
{
  MemoryLayer *self = g_new0 (MemoryLayer, 1);

  g_atomic_ref_count_init (&self->ref_count);
  self->size = size;
  self->blocks = g_ptr_array_new_with_free_func (unref_block);
  g_ptr_array_set_size (self->blocks, n_blocks (size));
  return self;
}

MemoryLayer *
memory_layer_ref (MemoryLayer *self)
{
  g_atomic_ref_count_inc (&self->ref_count);
  return self;
}

void
memory_layer_unref (MemoryLayer *self)
{
  if (self == NULL || !g_atomic_ref_count_dec (&self->ref_count))
    return;
  g_ptr_array_unref (self->blocks);
  g_free (self);
}

MemoryLayer *
memory_layer_snapshot (const MemoryLayer *self)
{
  MemoryLayer *copy = memory_layer_new (self->size);

  for (guint i = 0; i < self->blocks->len; i++) {
    GBytes *block = g_ptr_array_index (self->blocks, i);

    if (block != NULL)
      g_ptr_array_index (copy->blocks, i) = g_bytes_ref (block);
  }
  return copy;
}

GBytes *
memory_layer_block (const MemoryLayer *self, guint64 index)
{
  return index < self->blocks->len ? g_ptr_array_index (self->blocks, index)
                                   : NULL;
}

void
memory_layer_read (const MemoryLayer *self, guint64 offset, void *buffer,
                   gsize length)
{
  for (gsize done = 0; done < length;) {
    guint64 at = offset + done;
    gsize inside = at % MEMORY_BLOCK;
    gsize n = MIN (length - done, MEMORY_BLOCK - inside);
    GBytes *block = memory_layer_block (self, at / MEMORY_BLOCK);

    if (block == NULL)
      memset ((guint8 *) buffer + done, 0, n);
    else
      memcpy ((guint8 *) buffer + done,
              (const guint8 *) g_bytes_get_data (block, NULL) + inside, n);
    done += n;
  }
}

GBytes *
memory_zero (void)
{
  static const guint8 zeroes[MEMORY_BLOCK];
  static gsize once;
  static GBytes *block;

  if (g_once_init_enter (&once)) {
    block = g_bytes_new_static (zeroes, sizeof zeroes);
    g_once_init_leave (&once, 1);
  }
  return block;
}

static void
set_block (MemoryLayer *self, guint64 index, GBytes *block)
{
  gpointer *slot = &g_ptr_array_index (self->blocks, index);

  unref_block (*slot);
  *slot = block;
}

/* Replace part of one block by a new one. */
static void
patch_block (MemoryLayer *self, guint64 index, gsize inside, const void *data,
             gsize length)
{
  guint8 *bytes = g_malloc (MEMORY_BLOCK);

  memory_layer_read (self, index * MEMORY_BLOCK, bytes, MEMORY_BLOCK);
  if (data != NULL)
    memcpy (bytes + inside, data, length);
  else
    memset (bytes + inside, 0, length);
  set_block (self, index, g_bytes_new_take (bytes, MEMORY_BLOCK));
}

void
memory_layer_change (MemoryLayer *self, guint64 offset, const void *data,
                     guint64 length, GBytes *whole)
{
  for (guint64 done = 0; done < length;) {
    guint64 at = offset + done;
    gsize inside = at % MEMORY_BLOCK;
    gsize n = MIN (length - done, MEMORY_BLOCK - inside);

    if (data == NULL && n == MEMORY_BLOCK)
      set_block (self, at / MEMORY_BLOCK,
                 whole != NULL ? g_bytes_ref (whole) : NULL);
    else
      patch_block (self, at / MEMORY_BLOCK, inside,
                   data != NULL ? (const guint8 *) data + done : NULL, n);
    done += n;
  }
}

/* What is cut off inside a block must not come back when it grows again. */
void
memory_layer_resize (MemoryLayer *self, guint64 size)
{
  gsize inside = size % MEMORY_BLOCK;

  if (size < self->size && inside > 0)
    patch_block (self, size / MEMORY_BLOCK, inside, NULL,
                 MEMORY_BLOCK - inside);
  self->size = size;
  g_ptr_array_set_size (self->blocks, n_blocks (size));
}
