/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/reader.h"

#include <string.h>

#include "snapshot-core/base/error.h"

static gboolean
check_range (SnapReader *self, guint64 offset, gsize length, GError **error)
{
  if (offset <= self->size && length <= self->size - offset)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_CORRUPT,
                         "%" G_GSIZE_FORMAT
                         " bytes at offset %" G_GUINT64_FORMAT
                         " lie outside its %" G_GUINT64_FORMAT " bytes",
                         length, offset, self->size);
}

gboolean
snap_reader_read (SnapReader *self, guint64 offset, void *buffer, gsize length,
                  GError **error)
{
  if (!check_range (self, offset, length, error))
    return FALSE;
  return length == 0
         || self->ops->read_at (self, offset, buffer, length, error);
}

gboolean
snap_reader_read_many (SnapReader *self, const SnapReadPart *parts, guint n,
                       SnapReadFunc done, gpointer user_data, GError **error)
{
  for (guint i = 0; i < n; i++)
    if (!check_range (self, parts[i].offset, parts[i].length, error))
      return FALSE;
  if (self->ops->read_many != NULL)
    return self->ops->read_many (self, parts, n, done, user_data, error);
  for (guint i = 0; i < n; i++)
    if (!snap_reader_read (self, parts[i].offset, parts[i].buffer,
                           parts[i].length, error)
        || !done (i, user_data, error))
      return FALSE;
  return TRUE;
}

GBytes *
snap_reader_read_bytes (SnapReader *self, guint64 offset, gsize length,
                        GError **error)
{
  g_autofree void *buffer = NULL;

  if (!check_range (self, offset, length, error))
    return NULL;
  buffer = g_try_malloc (length);
  if (buffer == NULL && length > 0) {
    snap_error_set (error, SNAP_ERROR_FAILED,
                    "no memory for %" G_GSIZE_FORMAT " bytes", length);
    return NULL;
  }
  if (!snap_reader_read (self, offset, buffer, length, error))
    return NULL;
  return g_bytes_new_take (g_steal_pointer (&buffer), length);
}

void
snap_reader_free (SnapReader *self)
{
  if (self != NULL)
    self->ops->free (self);
}

/* ---- memory ---- */

typedef struct {
  SnapReader base;
  GBytes *bytes;
} MemoryReader;

static gboolean
memory_read_at (SnapReader *reader, guint64 offset, void *buffer, gsize length,
                GError **error)
{
  MemoryReader *self = (MemoryReader *) reader;
  const guint8 *data = g_bytes_get_data (self->bytes, NULL);

  memcpy (buffer, data + offset, length);
  return TRUE;
}

static void
memory_free (SnapReader *reader)
{
  MemoryReader *self = (MemoryReader *) reader;

  g_bytes_unref (self->bytes);
  g_free (self);
}

static const SnapReaderOps memory_ops = {
  .read_at = memory_read_at,
  .free = memory_free,
};

SnapReader *
snap_reader_new_memory (GBytes *bytes)
{
  MemoryReader *self = g_new0 (MemoryReader, 1);

  self->base.ops = &memory_ops;
  self->base.size = g_bytes_get_size (bytes);
  self->bytes = g_bytes_ref (bytes);
  return &self->base;
}

/* ---- faults ---- */

typedef struct {
  SnapReader base;
  SnapReader *inner; /* borrowed */
  guint64 bad_offset;
} FaultyReader;

static gboolean
faulty_read_at (SnapReader *reader, guint64 offset, void *buffer, gsize length,
                GError **error)
{
  FaultyReader *self = (FaultyReader *) reader;

  if (self->bad_offset >= offset && self->bad_offset - offset < length)
    return snap_error_set (error, SNAP_ERROR_IO,
                           "injected fault at offset %" G_GUINT64_FORMAT,
                           self->bad_offset);
  return snap_reader_read (self->inner, offset, buffer, length, error);
}

static void
faulty_free (SnapReader *reader)
{
  g_free (reader);
}

static const SnapReaderOps faulty_ops = {
  .read_at = faulty_read_at,
  .free = faulty_free,
};

SnapReader *
snap_reader_new_faulty (SnapReader *inner, guint64 bad_offset)
{
  FaultyReader *self = g_new0 (FaultyReader, 1);

  self->base.ops = &faulty_ops;
  self->base.size = inner->size;
  self->inner = inner;
  self->bad_offset = bad_offset;
  return &self->base;
}
