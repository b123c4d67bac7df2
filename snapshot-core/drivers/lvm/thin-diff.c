/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Diffs and maps of thin volumes, from the metadata of their pool.
 *
 * Any two volumes of one pool can be compared: where both map a chunk to the
 * same block of the pool, the bytes are the same, whatever their history.
 * Where neither maps it, both read as zeroes, or show what lies below: the
 * external origin, which must therefore be one for both.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <errno.h>
#include <fcntl.h>

#include "snapshot-core/format/thin-diff.h"
#include "snapshot-core/os/device-mapper.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"

static gboolean
refuse (const SnapDiffRequest *request, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s@%s..%s: %s",
                         request->to_volume->location, request->from->name,
                         request->to->name, fact);
}

/* ---- what lies below ---- */

static gboolean
is_below (const SnapLvmVolume *origin, const SnapLvmVolume *volume)
{
  return origin->thin_id == 0
         || g_strcmp0 (origin->pool_uuid, volume->pool_uuid) != 0;
}

/* The UUID of the external origin of @volume, NULL if it has none: the first
   origin up the line that is not of the pool. */
static const char *
external_origin (GPtrArray *report, const SnapLvmVolume *volume)
{
  for (guint i = 0; i <= report->len; i++) {
    const SnapLvmVolume *origin =
        volume->origin_uuid != NULL
            ? snap_lvm_report_by_uuid (report, volume->origin_uuid)
            : NULL;

    if (origin == NULL || is_below (origin, volume))
      return volume->origin_uuid;
    volume = origin;
  }
  return NULL;
}

gboolean
lvm_thin_comparable (const SnapDiffRequest *request, GPtrArray *report,
                     const SnapLvmVolume *from, const SnapLvmVolume *to,
                     GError **error)
{
  if (g_strcmp0 (from->pool_uuid, to->pool_uuid) != 0)
    return refuse (request, "in two thin pools", error);
  if (g_strcmp0 (external_origin (report, from), external_origin (report, to))
      != 0)
    return refuse (request, "over two different external origins", error);
  return TRUE;
}

/* ---- the metadata ---- */

typedef struct {
  LvmActivation *activation;
  LvmMetadata *metadata;
  SnapReader *reader;
  SnapThinSuperblock super;
  GArray *devices; /* SnapThinDevice */
} Pool;

static void
pool_clear (Pool *self)
{
  g_clear_pointer (&self->devices, g_array_unref);
  g_clear_pointer (&self->reader, snap_reader_free);
  g_clear_pointer (&self->metadata, lvm_metadata_free);
  g_clear_pointer (&self->activation, lvm_activation_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pool, pool_clear)

static SnapReader *
open_reader (const char *device, GError **error)
{
  snap_autofd int fd = open (device, O_RDONLY | O_DIRECT | O_CLOEXEC);

  if (fd < 0) {
    snap_error_set_errno (error, errno, "%s", device);
    return NULL;
  }
  return snap_file_reader_take (snap_fd_steal (&fd), SNAP_FILE_DIRECT, device,
                                error);
}

static gboolean
pool_open (Pool *self, GPtrArray *report, const SnapLvmVolume *volume,
           GError **error)
{
  const SnapLvmVolume *pool = lvm_pool_of (report, volume, error);

  if (pool == NULL)
    return FALSE;
  self->activation = lvm_activate (pool, error);
  if (self->activation == NULL)
    return FALSE;
  self->metadata = lvm_metadata_take (report, pool, error);
  if (self->metadata == NULL)
    return FALSE;
  self->reader = open_reader (lvm_metadata_device (self->metadata), error);
  if (self->reader == NULL)
    return FALSE;
  if (snap_thin_superblock_read (self->reader,
                                 lvm_metadata_root (self->metadata),
                                 &self->super, error))
    self->devices = snap_thin_devices_read (self->reader, &self->super, error);
  if (self->devices != NULL)
    return TRUE;
  g_prefix_error (error, "%s: ", lvm_metadata_device (self->metadata));
  return FALSE;
}

/* LVM knows volumes whose device the pool has lost: a cut that was killed
   half-way leaves one. */
static const SnapThinDevice *
find_device (const Pool *self, const SnapLvmVolume *volume, GError **error)
{
  for (guint i = 0; i < self->devices->len; i++) {
    const SnapThinDevice *device =
        &g_array_index (self->devices, SnapThinDevice, i);

    if (device->id == volume->thin_id)
      return device;
  }
  snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                  "%s/%s: thin device %u is not in the metadata of its pool",
                  volume->vg, volume->name, volume->thin_id);
  return NULL;
}

/* ---- the diff ---- */

/* Chunks may reach over the end of a volume, and mappings stay where one was
   made smaller. */
typedef struct {
  guint64 offset, end;
  SnapExtentFunc emit;
  gpointer user_data;
} Clip;

static gboolean
emit_clipped (const SnapExtent *extent, gpointer user_data, GError **error)
{
  const Clip *clip = user_data;
  guint64 start = MAX (extent->offset, clip->offset);
  guint64 end = MIN (extent->offset + extent->length, clip->end);
  const SnapExtent part = { start, end - start, extent->flags };

  return start >= end || clip->emit (&part, clip->user_data, error);
}

static gboolean
walk (Pool *pool, const SnapThinDevice *from, const SnapThinDevice *to,
      gboolean unmapped_is_zero, Clip *clip, GError **error)
{
  guint64 chunk = pool->super.chunk_size;
  guint64 start = clip->offset - clip->offset % chunk;
  guint64 n_chunks = (clip->end - start + chunk - 1) / chunk;
  SnapThinDiff diff = { .reader = pool->reader,
                        .super = &pool->super,
                        .from = from,
                        .to = to,
                        .unmapped_is_zero = unmapped_is_zero,
                        .offset = start,
                        .length = n_chunks * chunk };

  if (snap_thin_diff (&diff, emit_clipped, clip, error))
    return TRUE;
  if (error != NULL && *error != NULL)
    g_prefix_error (error, "%s: ", lvm_metadata_device (pool->metadata));
  return FALSE;
}

gboolean
lvm_thin_diff (const SnapDiffRequest *request, GPtrArray *report,
               const SnapLvmVolume *from, const SnapLvmVolume *to,
               SnapDiffInfo *info, SnapExtentFunc emit, gpointer user_data,
               GError **error)
{
  gboolean zero = external_origin (report, to) == NULL;
  Clip clip = { request->offset, request->offset + request->length, emit,
                user_data };
  g_auto (Pool) pool = { 0 };
  const SnapThinDevice *old;
  const SnapThinDevice *new;

  if (!pool_open (&pool, report, to, error))
    return FALSE;
  old = find_device (&pool, from, error);
  new = old != NULL ? find_device (&pool, to, error) : NULL;
  if (new == NULL)
    return FALSE;
  info->granularity = pool.super.chunk_size;
  info->proof = SNAP_PROOF_EXACT;
  info->source = "thin-metadata";
  return walk (&pool, old, new, zero, &clip, error);
}

/* ---- the map ---- */

/* The mapped parts, with what lies between them filled in. */
typedef struct {
  SnapExtents *map;
  guint64 end; /* of what is in it */
} Map;

static void
add_hole (Map *map, guint64 end)
{
  if (map->end < end)
    snap_extents_append (map->map, map->end, end - map->end,
                         SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO);
  map->end = MAX (map->end, end);
}

static gboolean
add_mapped (const SnapExtent *extent, gpointer user_data, GError **error)
{
  Map *map = user_data;

  (void) error;
  add_hole (map, extent->offset);
  snap_extents_append (map->map, extent->offset, extent->length, 0);
  map->end = extent->offset + extent->length;
  return TRUE;
}

/* Over an external origin everything may hold data. */
static SnapExtents *
all_data (guint64 offset, guint64 length)
{
  SnapExtents *map = snap_extents_new ();

  snap_extents_append (map, offset, length, 0);
  return map;
}

SnapExtents *
lvm_thin_map (const LvmVolume *volume, const SnapPoint *point, guint64 offset,
              guint64 length, GError **error)
{
  g_autoptr (GPtrArray) report = lvm_report (volume->vg, error);
  const SnapLvmVolume *found =
      report != NULL ? lvm_report_point (report, volume, point, error) : NULL;
  g_autoptr (SnapExtents) extents = snap_extents_new ();
  Map map = { extents, offset };
  Clip clip = { offset, offset + length, add_mapped, &map };
  g_auto (Pool) pool = { 0 };
  const SnapThinDevice *device;

  if (found == NULL)
    return NULL;
  if (external_origin (report, found) != NULL)
    return all_data (offset, length);
  if (!pool_open (&pool, report, found, error))
    return NULL;
  device = find_device (&pool, found, error);
  if (device == NULL || !walk (&pool, NULL, device, TRUE, &clip, error))
    return NULL;
  add_hole (&map, offset + length);
  return g_steal_pointer (&extents);
}
