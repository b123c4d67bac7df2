/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/cow-store.h"

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"

#define MAGIC 0x70416e53 /* "SnAp" */
#define STORE_VERSION 1
#define HEADER_BYTES 16
#define ENTRY_BYTES 16
#define SECTOR 512

/* The kernel takes powers of two; LVM gives 4 KiB to 512 KiB. */
#define MIN_CHUNK (4 * 1024)
#define MAX_CHUNK (1024 * 1024)

struct _SnapCowStore {
  SnapReader *reader; /* borrowed */
  char *name;
  guint32 chunk_size; /* bytes */
};

void
snap_cow_store_free (SnapCowStore *self)
{
  if (self == NULL)
    return;
  g_free (self->name);
  g_free (self);
}

guint32
snap_cow_store_chunk_size (const SnapCowStore *self)
{
  return self->chunk_size;
}

/* ---- the header ---- */

static gboolean
is_chunk_size (guint64 size)
{
  return size >= MIN_CHUNK && size <= MAX_CHUNK && (size & (size - 1)) == 0;
}

static gboolean
read_header (SnapCowStore *self, GError **error)
{
  guint8 header[HEADER_BYTES];
  SnapBytes bytes = { .at = header, .left = sizeof header };
  guint32 magic, valid, version;
  guint64 chunk_size;

  if (!snap_reader_read (self->reader, 0, header, sizeof header, error)) {
    g_prefix_error (error, "%s: ", self->name);
    return FALSE;
  }
  magic = snap_bytes_take_le32 (&bytes);
  valid = snap_bytes_take_le32 (&bytes);
  version = snap_bytes_take_le32 (&bytes);
  chunk_size = (guint64) snap_bytes_take_le32 (&bytes) * SECTOR;
  if (magic != MAGIC || version != STORE_VERSION || !is_chunk_size (chunk_size))
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "%s: not an exception store of version %u",
                           self->name, STORE_VERSION);
  if (valid == 0)
    return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                           "%s: has overflowed, so that not all changes are "
                           "recorded",
                           self->name);
  self->chunk_size = (guint32) chunk_size;
  return TRUE;
}

SnapCowStore *
snap_cow_store_open (SnapReader *reader, const char *name, GError **error)
{
  g_autoptr (SnapCowStore) self = g_new0 (SnapCowStore, 1);

  self->reader = reader;
  self->name = g_strdup (name);
  return read_header (self, error) ? g_steal_pointer (&self) : NULL;
}

/* ---- the table ---- */

/* Append the old chunks of one area; *ended at the end of the table. */
static gboolean
take_area (const SnapCowStore *self, const guint8 *area, guint64 limit,
           GArray *chunks, gboolean *ended, GError **error)
{
  SnapBytes bytes = { .at = area, .left = self->chunk_size };

  while (!*ended && bytes.left >= ENTRY_BYTES) {
    guint64 old_chunk = snap_bytes_take_le64 (&bytes);
    guint64 new_chunk = snap_bytes_take_le64 (&bytes);

    *ended = new_chunk == 0 || chunks->len >= limit;
    if (*ended)
      break;
    if (old_chunk >= G_MAXINT64 / self->chunk_size
        || new_chunk >= self->reader->size / self->chunk_size
        || chunks->len == G_MAXUINT)
      return snap_error_set (error, SNAP_ERROR_CORRUPT,
                             "%s: entry %u points outside", self->name,
                             chunks->len);
    g_array_append_val (chunks, old_chunk);
  }
  return TRUE;
}

/* A store that is full has no end of the table but its own end. */
static gboolean
read_table (SnapCowStore *self, guint64 limit, GArray *chunks, GError **error)
{
  g_autofree guint8 *area = g_malloc (self->chunk_size);
  guint64 stride =
      (guint64) self->chunk_size * (self->chunk_size / ENTRY_BYTES + 1);
  guint64 at = self->chunk_size;
  gboolean ended = FALSE;

  for (; !ended && at + self->chunk_size <= self->reader->size; at += stride) {
    if (!snap_reader_read (self->reader, at, area, self->chunk_size, error)) {
      g_prefix_error (error, "%s: ", self->name);
      return FALSE;
    }
    if (!take_area (self, area, limit, chunks, &ended, error))
      return FALSE;
  }
  return TRUE;
}

static gint
compare_chunks (gconstpointer a, gconstpointer b)
{
  guint64 x = *(const guint64 *) a;
  guint64 y = *(const guint64 *) b;

  return (x > y) - (x < y);
}

GArray *
snap_cow_store_read (SnapCowStore *self, guint64 limit, GError **error)
{
  g_autoptr (GArray) chunks = g_array_new (FALSE, FALSE, sizeof (guint64));

  if (!read_table (self, limit, chunks, error))
    return NULL;
  if (limit != G_MAXUINT64 && chunks->len < limit) {
    snap_error_set (error, SNAP_ERROR_CORRUPT,
                    "%s: has %u entries where %" G_GUINT64_FORMAT
                    " were recorded",
                    self->name, chunks->len, limit);
    return NULL;
  }
  g_array_sort (chunks, compare_chunks);
  return g_steal_pointer (&chunks);
}

gboolean
snap_cow_store_emit (const SnapCowStore *self, const GArray *chunks,
                     guint64 offset, guint64 end, SnapExtentFunc emit,
                     gpointer user_data, GError **error)
{
  guint64 done = offset;

  for (guint i = 0; i < chunks->len && done < end; i++) {
    guint64 start = g_array_index (chunks, guint64, i) * self->chunk_size;
    guint64 from = MAX (start, done);
    guint64 to = MIN (start + self->chunk_size, end);
    const SnapExtent extent = { from, to - MIN (from, to), SNAP_EXTENT_DIRTY };

    if (from >= to)
      continue;
    if (!emit (&extent, user_data, error))
      return FALSE;
    done = to;
  }
  return TRUE;
}
