/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#define CONTEXT_PREFIX "qemu:dirty-bitmap:"
#define IS_DIRTY 1

static gboolean
refuse (const SnapDiffRequest *request, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s@%s..%s: %s",
                         request->to_volume->location, request->from->name,
                         request->to->name, fact);
}

/* ---- may they be compared ---- */

static gboolean
check_kinds (const SnapDiffRequest *request, GError **error)
{
  const SnapPoint *from = request->from;

  if (request->from_volume != request->to_volume
      && !g_str_equal (request->from_volume->id, request->to_volume->id))
    return refuse (request, "points of two disks", error);
  if (from->kind != SNAP_POINT_SNAPSHOT && from->kind != SNAP_POINT_CHECKPOINT)
    return refuse (request, "only a snapshot or checkpoint is a base", error);
  if (request->to->kind != SNAP_POINT_SNAPSHOT)
    return refuse (request,
                   "only a snapshot whose data is still there can be "
                   "compared with a base",
                   error);
  if (from->time_us >= request->to->time_us)
    return refuse (request, "the base is not older", error);
  return TRUE;
}

static gboolean
has_copy (const QemuView *view, const char *tag, const char *of,
          const char *base)
{
  g_autofree char *node = qemu_part_name (of, tag, QEMU_MARKS);
  g_autoptr (GPtrArray) names = qemu_marks_list (view, node);

  return g_ptr_array_find_with_equal_func (names, base, g_str_equal, NULL);
}

static gboolean
check_base (const QemuView *view, const SnapDiffRequest *request,
            GError **error)
{
  const QemuVolume *volume = (QemuVolume *) request->to_volume;
  const char *set_id = request->from->set_id;
  QmpDisk *disk = qemu_view_disk (view, volume, error);
  QmpBitmap *bitmap = disk != NULL ? qemu_base_find (disk, set_id) : NULL;
  const char *fault;

  if (disk == NULL)
    return FALSE;
  if (bitmap == NULL)
    return refuse (request, "the base is gone", error);
  if (!qemu_base_is_sound (view, disk, bitmap, &fault))
    return refuse (request, fault, error);
  if (!has_copy (view, volume->tag, request->to->set_id, set_id))
    return refuse (request,
                   "the base could not be used when the snapshot was "
                   "made",
                   error);
  return TRUE;
}

gboolean
qemu_comparable (const SnapDiffRequest *request, GError **error)
{
  const QemuVolume *volume = (QemuVolume *) request->to_volume;
  g_autoptr (QemuSession) session = NULL;
  g_autoptr (QemuView) view = NULL;

  if (!check_kinds (request, error))
    return FALSE;
  session = qemu_session_open (volume->socket, error);
  view = session != NULL ? qemu_view_new (session, error) : NULL;
  return view != NULL && check_base (view, request, error);
}

/* ---- the diff ---- */

typedef struct {
  QemuContent *content;
  guint64 size;
  SnapExtentFunc emit;
  gpointer user_data;
  guint64 at; /* dirty up to here is emitted */
} Emission;

static gboolean
emit_dirty (Emission *self, guint64 end, SnapExtentFlags flags, GError **error)
{
  const SnapExtent extent = { self->at, end - self->at,
                              SNAP_EXTENT_DIRTY | flags };

  if (end <= self->at)
    return TRUE;
  self->at = end;
  return self->emit (&extent, self->user_data, error);
}

/* Of zeroes those that are whole granules. */
static gboolean
take_extent (const SnapExtent *extent, gpointer user_data, GError **error)
{
  Emission *self = user_data;
  const guint64 granule = QEMU_GRANULARITY;
  guint64 end = extent->offset + extent->length;
  guint64 begin = (extent->offset + granule - 1) / granule * granule;

  if ((extent->flags & SNAP_EXTENT_ZERO) == 0)
    return TRUE;
  if (end != self->size)
    end = end / granule * granule;
  begin = MAX (begin, self->at);
  return end <= begin
         || (emit_dirty (self, begin, 0, error)
             && emit_dirty (self, end, SNAP_EXTENT_ZERO, error));
}

/* A dirty range, in parts by whether it reads as zeroes. */
static gboolean
emit_range (Emission *self, guint64 offset, guint64 length, GError **error)
{
  self->at = offset;
  return qemu_content_extents (self->content, offset, length, take_extent, self,
                               error)
         && emit_dirty (self, offset + length, 0, error);
}

static gboolean
take_dirty (guint64 offset, guint64 length, guint32 flags, gpointer user_data,
            GError **error)
{
  return (flags & IS_DIRTY) == 0
         || emit_range (user_data, offset, length, error);
}

/*
 * From here on all is dirty: what the disk has grown by, and before that the
 * granule at its old end.  When the disk is made smaller within that, the mark
 * at the end stays where it is.
 */
static guint64
find_end_of_knowledge (const SnapDiffRequest *request)
{
  guint64 size = MIN (request->from->size, request->to->size);

  return size > 0 ? (size - 1) / QEMU_GRANULARITY * QEMU_GRANULARITY : 0;
}

static gboolean
emit_all (const SnapDiffRequest *request, SnapNbdSource *marks,
          const char *context, Emission *emission, GError **error)
{
  guint64 end = request->offset + request->length;
  guint64 known = CLAMP (find_end_of_knowledge (request), request->offset, end);

  return snap_nbd_source_status (marks, context, request->offset,
                                 known - request->offset, take_dirty, emission,
                                 error)
         && (known == end || emit_range (emission, known, end - known, error));
}

gboolean
qemu_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
           SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const QemuVolume *volume = (QemuVolume *) request->to_volume;
  g_autofree char *context =
      g_strconcat (CONTEXT_PREFIX, request->from->set_id, NULL);
  g_autoptr (SnapNbdSource) marks = NULL;
  g_autoptr (QemuContent) content = NULL;
  Emission emission = { .size = request->to->size,
                        .emit = emit,
                        .user_data = user_data };

  if (!qemu_comparable (request, error))
    return FALSE;
  marks = qemu_connect (volume, request->to, QEMU_DIRTY, context, 1, error);
  if (marks != NULL)
    content = qemu_content_open (volume, request->to, error);
  if (content == NULL)
    return FALSE;
  /* A write marks what it covers, whatever it writes. */
  info->granularity = QEMU_GRANULARITY;
  info->proof = SNAP_PROOF_SUPERSET;
  info->source = "qemu-bitmap";
  emission.content = content;
  return emit_all (request, marks, context, &emission, error);
}
