/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/qcow2-snapshots.h"

#include <string.h>

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"

/* An entry: fixed fields, extra data, id, name, padding to 8 bytes. */
#define FIXED_BYTES 40
#define MAX_EXTRA_BYTES 1024 /* as in QEMU's block/qcow2.h */

typedef struct {
  guint32 extra_length;
  guint16 id_length;
  guint16 name_length;
} Lengths;

static void
snapshot_free (SnapQcow2Snapshot *self)
{
  g_free (self->id);
  g_free (self->name);
  g_free (self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapQcow2Snapshot, snapshot_free)

static gboolean
corrupt (GError **error, guint index, const char *fact)
{
  return snap_error_set (error, SNAP_ERROR_CORRUPT, "entry %u: %s", index,
                         fact);
}

static gboolean
read_fixed (SnapReader *reader, guint64 offset, SnapQcow2Snapshot *self,
            Lengths *lengths, GError **error)
{
  guint8 fixed[FIXED_BYTES];
  SnapBytes in = { .at = fixed, .left = sizeof fixed };

  if (!snap_reader_read (reader, offset, fixed, sizeof fixed, error))
    return FALSE;
  self->l1_offset = snap_bytes_take_be64 (&in);
  self->l1_size = snap_bytes_take_be32 (&in);
  lengths->id_length = snap_bytes_take_be16 (&in);
  lengths->name_length = snap_bytes_take_be16 (&in);
  self->date_sec = snap_bytes_take_be32 (&in);
  self->date_nsec = snap_bytes_take_be32 (&in);
  snap_bytes_take_be64 (&in); /* the guest's clock */
  self->vm_state_size = snap_bytes_take_be32 (&in);
  lengths->extra_length = snap_bytes_take_be32 (&in);
  return TRUE;
}

/* Old images lack these fields: their disks never changed size. */
static void
take_extra (SnapQcow2Snapshot *self, SnapBytes *extra, guint64 disk_size)
{
  self->size = disk_size;
  if (extra->left >= 8)
    self->vm_state_size = snap_bytes_take_be64 (extra);
  if (extra->left >= 8)
    self->size = snap_bytes_take_be64 (extra);
}

/* A text without NUL bytes, or NULL. */
static char *
take_text (SnapBytes *in, gsize length)
{
  const guint8 *at = snap_bytes_take (in, length);

  if (at == NULL || (length > 0 && memchr (at, '\0', length) != NULL))
    return NULL;
  return g_strndup ((const char *) at, length);
}

static gboolean
check_snapshot (const SnapQcow2Snapshot *self, const SnapQcow2Header *header,
                guint index, GError **error)
{
  if (self->id == NULL || self->name == NULL)
    return corrupt (error, index, "a NUL byte in its id or name");
  if (self->l1_size * G_GUINT64_CONSTANT (8) > SNAP_QCOW2_MAX_L1_BYTES)
    return corrupt (error, index, "L1 table too large");
  if (self->l1_offset % header->cluster_size != 0)
    return corrupt (error, index, "L1 table unaligned");
  if (self->size > G_MAXINT64)
    return corrupt (error, index, "disk size out of range");
  return TRUE;
}

/* Read the entry at @offset; *length becomes its bytes with padding. */
static SnapQcow2Snapshot *
read_snapshot (SnapReader *reader, const SnapQcow2Header *header, guint index,
               guint64 offset, guint64 *length, GError **error)
{
  g_autoptr (SnapQcow2Snapshot) self = g_new0 (SnapQcow2Snapshot, 1);
  g_autoptr (GBytes) bytes = NULL;
  Lengths lengths = { 0 };
  SnapBytes in = { 0 };
  SnapBytes extra = { 0 };

  if (!read_fixed (reader, offset, self, &lengths, error))
    return NULL;
  if (lengths.extra_length > MAX_EXTRA_BYTES) {
    corrupt (error, index, "too much extra data");
    return NULL;
  }
  in.left = lengths.extra_length + lengths.id_length + lengths.name_length;
  *length = (FIXED_BYTES + in.left + 7) / 8 * 8;
  bytes = snap_reader_read_bytes (reader, offset + FIXED_BYTES, in.left, error);
  if (bytes == NULL)
    return NULL;

  in.at = g_bytes_get_data (bytes, NULL);
  extra.left = lengths.extra_length;
  extra.at = snap_bytes_take (&in, extra.left);
  take_extra (self, &extra, header->size);
  self->id = take_text (&in, lengths.id_length);
  self->name = take_text (&in, lengths.name_length);
  if (!check_snapshot (self, header, index, error))
    return NULL;
  return g_steal_pointer (&self);
}

static gboolean
read_all (SnapReader *reader, const SnapQcow2Header *header,
          GPtrArray *snapshots, GError **error)
{
  g_autoptr (GHashTable) ids = g_hash_table_new (g_str_hash, g_str_equal);
  guint64 used = 0;

  for (guint i = 0; i < header->n_snapshots; i++) {
    guint64 length = 0;
    SnapQcow2Snapshot *snapshot = read_snapshot (
        reader, header, i, header->snapshots_offset + used, &length, error);

    if (snapshot == NULL)
      return FALSE;
    g_ptr_array_add (snapshots, snapshot);
    used += length;
    if (used > SNAP_QCOW2_MAX_SNAPSHOT_TABLE_BYTES)
      return corrupt (error, i, "ends past the largest table");
    if (!g_hash_table_add (ids, snapshot->id))
      return corrupt (error, i, "its id is there twice");
  }
  return TRUE;
}

GPtrArray *
snap_qcow2_snapshots_read (SnapReader *reader, const SnapQcow2Header *header,
                           GError **error)
{
  g_autoptr (GPtrArray) snapshots =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snapshot_free);

  if (!read_all (reader, header, snapshots, error)) {
    g_prefix_error (error, "snapshot table: ");
    return NULL;
  }
  return g_steal_pointer (&snapshots);
}
