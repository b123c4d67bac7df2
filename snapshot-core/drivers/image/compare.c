/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an image holds itself is what differs from its backing file.  QEMU tells
 * that cluster by cluster, as the depth at which each was found.
 */
#include "config.h"

#include "snapshot-core/drivers/image/image.h"

#define HELD_HERE 1

/* One connection asks for the depth, and meanwhile one for zeroes. */
#define N_CONNECTIONS 2

gboolean
image_comparable (const SnapDiffRequest *request, GError **error)
{
  if (request->from_volume == request->to_volume
      && request->from->kind == SNAP_POINT_BACKING
      && request->to->kind == SNAP_POINT_LIVE)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                         "%s: of an image without snapshots only backing..live "
                         "can be compared",
                         request->to_volume->location);
}

typedef struct {
  SnapNbdSource *source;
  SnapExtentFunc emit;
  gpointer user_data;
} Comparison;

static gboolean
emit_dirty (Comparison *self, guint64 begin, guint64 end, GError **error)
{
  return end <= begin
         || image_emit_zeroes (self->source, begin, end - begin,
                               SNAP_EXTENT_DIRTY, self->emit, self->user_data,
                               error);
}

static gboolean
take_depth (guint64 offset, guint64 length, guint32 depth, gpointer user_data,
            GError **error)
{
  return depth != HELD_HERE
         || emit_dirty (user_data, offset, offset + length, error);
}

/* Where a shorter backing file ends, and behind it, all is new: that granule as
   a whole. */
static guint64
shared_size (const SnapDiffRequest *request, guint64 granularity)
{
  if (request->from->size >= request->to->size)
    return request->to->size;
  return request->from->size - request->from->size % granularity;
}

gboolean
image_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
            SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const ImageVolume *volume = (ImageVolume *) request->to_volume;
  g_autoptr (SnapNbdSource) source = NULL;
  Comparison comparison = { NULL, emit, user_data };
  guint64 end = request->offset + request->length;
  guint64 shared;

  info->granularity = image_volume_file (volume)->header->granularity;
  info->proof = SNAP_PROOF_EXACT;
  info->source = "allocation-depth";
  shared = MIN (shared_size (request, info->granularity), end);
  if (!image_check_whole (volume, error))
    return FALSE;
  comparison.source = source =
      image_daemon_start (volume, N_CONNECTIONS, error);
  if (source == NULL)
    return FALSE;
  return (request->offset >= shared
          || snap_nbd_source_status (source, IMAGE_DEPTH, request->offset,
                                     shared - request->offset, take_depth,
                                     &comparison, error))
         && emit_dirty (&comparison, MAX (request->offset, shared), end, error);
}
