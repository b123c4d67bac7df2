/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"

/* The magic alone: nothing is parsed before the image is locked. */
static int
qcow2_probe (const char *location)
{
  snap_autofd int fd = open (location, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  char head[4];
  struct stat st;

  if (fd < 0 || fstat (fd, &st) < 0
      || (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)))
    return 0;
  /* Four bytes are wanted, not what the kernel would read ahead. */
  (void) posix_fadvise (fd, 0, 0, POSIX_FADV_RANDOM);
  if (pread (fd, head, sizeof head, 0) != sizeof head)
    return 0;
  return memcmp (head, "QFI\xfb", sizeof head) == 0 ? 90 : 0;
}

/* ---- the volume ---- */

static void
qcow2_close (SnapVolume *volume)
{
  Qcow2Volume *self = (Qcow2Volume *) volume;

  g_clear_pointer (&self->chain, g_ptr_array_unref);
  g_free (self->secret_file);
  g_free (volume->location);
  g_free (volume->part);
  g_free (volume->id);
  g_free (volume->label);
  g_free (self);
}

static void
close_half_open (Qcow2Volume *self)
{
  qcow2_close (&self->parent);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2Volume, close_half_open)

static gboolean
identify (Qcow2Volume *self, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (self);
  struct stat st;

  if (fstat (snap_file_reader_fd (file->reader), &st) < 0)
    return snap_error_set_errno (error, errno, "%s", file->path);
  self->parent.id =
      g_strdup_printf ("%" G_GINT64_MODIFIER "x:%" G_GINT64_MODIFIER "u",
                       (guint64) st.st_dev, (guint64) st.st_ino);
  return TRUE;
}

static SnapVolume *
qcow2_open (const char *location, const char *part,
            const SnapOpenOptions *options, GError **error)
{
  g_autoptr (Qcow2Volume) self = g_new0 (Qcow2Volume, 1);

  self->parent.driver = &snap_driver_qcow2;
  self->parent.location = g_strdup (location);
  self->parent.label = g_path_get_basename (location);
  self->secret_file = g_strdup (options->secret_file);
  if (part != NULL) {
    snap_error_set (error, SNAP_ERROR_USAGE,
                    "%s#%s: a qcow2 image has no parts", location, part);
    return NULL;
  }
  self->chain = qcow2_chain_open (location, error);
  if (self->chain == NULL || !identify (self, error))
    return NULL;
  return &g_steal_pointer (&self)->parent;
}

guint64
qcow2_volume_backing_size (const Qcow2Volume *self)
{
  const Qcow2File *backing = qcow2_volume_backing (self);

  return backing != NULL ? backing->size : 0;
}

/* ---- points ---- */

/* The table is in the order of creation; a clock that was set back would give
   another one.  Bitmaps have no time and come first: then the newest is a
   snapshot. */
static GPtrArray *
qcow2_list (SnapVolume *volume, GError **error)
{
  const Qcow2Volume *self = (Qcow2Volume *) volume;
  const Qcow2File *file = qcow2_volume_file (self);
  g_autoptr (GPtrArray) snapshots =
      snap_qcow2_snapshots_read (file->reader, file->header, error);
  g_autoptr (GPtrArray) points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);

  if (snapshots == NULL || !qcow2_bitmap_list (self, points, error)) {
    g_prefix_error (error, "%s: ", file->path);
    return NULL;
  }
  for (guint i = 0; i < snapshots->len; i++)
    g_ptr_array_add (points, qcow2_point_new (snapshots->pdata[i]));
  return g_steal_pointer (&points);
}

static SnapPoint *
qcow2_special (SnapVolume *volume, SnapPointKind kind, GError **error)
{
  const Qcow2Volume *self = (Qcow2Volume *) volume;
  const Qcow2File *file = kind == SNAP_POINT_LIVE ? qcow2_volume_file (self)
                                                  : qcow2_volume_backing (self);
  SnapPoint *point;

  if (file == NULL) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no backing file",
                    volume->location);
    return NULL;
  }
  point = snap_point_new (kind, kind == SNAP_POINT_LIVE ? "live" : "backing");
  point->id = g_strdup (point->name);
  point->size = file->size;
  return point;
}

/* ---- diffs ---- */

static gboolean
is_mapped_here (const SnapPoint *point)
{
  return point->kind == SNAP_POINT_SNAPSHOT || point->kind == SNAP_POINT_LIVE
         || point->kind == SNAP_POINT_BACKING;
}

/*
 * A snapshot shows its backing file wherever it holds nothing itself.  If that
 * was written since (qemu-img commit does so, and says nothing), or another
 * one was put in its place, the snapshot no longer reads as it was cut, and
 * no comparison of metadata can tell where.
 */
static gboolean
check_backing_unchanged (const Qcow2Volume *self, const SnapPoint *point,
                         GError **error)
{
  g_autofree char *chain = NULL;

  if (point->kind != SNAP_POINT_SNAPSHOT)
    return TRUE;
  chain = qcow2_chain_name (self->chain);
  if (point->ours && g_strcmp0 (qcow2_name_chain (point->handle), chain) != 0)
    return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                           "%s@%s: was made over other backing files",
                           self->parent.location, point->name);
  for (guint i = 1; i < self->chain->len; i++) {
    const Qcow2File *file = g_ptr_array_index (self->chain, i);

    if (file->changed_us > point->time_us)
      return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                             "%s@%s: its backing file %s was written after "
                             "the snapshot was made",
                             self->parent.location, point->name, file->path);
  }
  return TRUE;
}

static gboolean
qcow2_comparable (const SnapDiffRequest *request, GError **error)
{
  const SnapVolume *from = request->from_volume;
  const SnapVolume *to = request->to_volume;

  if (from != to && !g_str_equal (from->id, to->id))
    return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                           "%s and %s: two images share no clusters",
                           from->location, to->location);
  if (request->from->kind == SNAP_POINT_CHECKPOINT)
    return qcow2_bitmap_refuse ((Qcow2Volume *) to, request->from, error);
  if (!is_mapped_here (request->from) || !is_mapped_here (request->to))
    return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                           "%s: %s and %s cannot be compared", to->location,
                           request->from->name, request->to->name);
  return check_backing_unchanged ((Qcow2Volume *) request->to_volume,
                                  request->from, error)
         && check_backing_unchanged ((Qcow2Volume *) request->to_volume,
                                     request->to, error);
}

/* The layer of a point; *layer NULL for the backing file itself. */
static gboolean
open_side (const Qcow2Volume *self, const SnapPoint *point,
           SnapQcow2Layer **layer, GError **error)
{
  *layer = NULL;
  if (point->kind == SNAP_POINT_BACKING)
    return TRUE;
  *layer = qcow2_point_layer (self, point, error);
  return *layer != NULL;
}

/* A snapshot that went away after it was resolved is a base that is gone. */
static gboolean
say_base_gone (GError **error)
{
  if (error != NULL
      && g_error_matches (*error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND))
    (*error)->code = SNAP_ERROR_NOT_COMPARABLE;
  return FALSE;
}

/* From @begin on everything is new. */
static gboolean
emit_grown (const SnapDiffRequest *request, SnapQcow2Layer *to, guint64 begin,
            guint64 backing_size, SnapExtentFunc emit, gpointer user_data,
            GError **error)
{
  guint64 end = MIN (request->offset + request->length, request->to->size);
  guint64 at = MAX (request->offset, begin);
  guint64 length;

  for (; at < end; at += length) {
    SnapQcow2Run run = { .kind = SNAP_QCOW2_DATA, .length = end - at };
    SnapExtent extent = { .offset = at, .flags = SNAP_EXTENT_DIRTY };

    if (to != NULL && !snap_qcow2_layer_run (to, at, end - at, &run, error))
      return FALSE;
    length = run.length;
    if (run.kind == SNAP_QCOW2_UNALLOCATED && at < backing_size)
      length = MIN (length, backing_size - at);
    if (run.kind == SNAP_QCOW2_ZERO
        || (run.kind == SNAP_QCOW2_UNALLOCATED && at >= backing_size))
      extent.flags |= SNAP_EXTENT_ZERO;
    extent.length = length;
    if (!emit (&extent, user_data, error))
      return FALSE;
  }
  return TRUE;
}

/* How much of the disk both points have, in whole granules if it grew: one
   that the end of the older point cuts is new as a whole. */
static guint64
shared_size (const SnapDiffRequest *request)
{
  const Qcow2Volume *self = (Qcow2Volume *) request->to_volume;
  guint64 granularity =
      snap_qcow2_granularity (qcow2_volume_file (self)->header);

  if (request->from->size >= request->to->size)
    return request->to->size;
  return request->from->size - request->from->size % granularity;
}

static gboolean
qcow2_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
            SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const Qcow2Volume *self = (Qcow2Volume *) request->to_volume;
  const Qcow2File *file = qcow2_volume_file (self);
  guint64 backing_size = qcow2_volume_backing_size (self);
  guint64 shared = shared_size (request);
  guint64 grown;
  g_autoptr (SnapQcow2Layer) from = NULL;
  g_autoptr (SnapQcow2Layer) to = NULL;

  info->granularity = snap_qcow2_granularity (file->header);
  info->proof = SNAP_PROOF_EXACT;
  info->source = "qcow2-l2";
  if (!open_side (self, request->from, &from, error)
      || !open_side (self, request->to, &to, error))
    return say_base_gone (error);

  grown = shared;
  shared = MIN (shared, request->offset + request->length);
  if ((request->offset >= shared
       || snap_qcow2_diff (from, to, backing_size, request->offset,
                           shared - request->offset, emit, user_data, error))
      && emit_grown (request, to, grown, backing_size, emit, user_data, error))
    return TRUE;
  g_prefix_error (error, "%s: ", file->path);
  return FALSE;
}

const SnapDriver snap_driver_qcow2 = {
  SNAP_DRIVER_INIT,
  .name = "qcow2",
  .description = "internal snapshots of a qcow2 image",
  .probe = qcow2_probe,
  .open = qcow2_open,
  .close = qcow2_close,
  .list = qcow2_list,
  .special = qcow2_special,
  .remove = qcow2_remove,
  .plan = qcow2_plan,
  .cut = qcow2_cut,
  .commit = qcow2_commit,
  .abort = qcow2_abort,
  .free_cut = qcow2_free_cut,
  .recover = qcow2_recover,
  .comparable = qcow2_comparable,
  .diff = qcow2_diff,
  .open_image = qcow2_image_open,
};
