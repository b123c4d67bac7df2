/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata of a thin pool as a file or device, without LVM and without
 * data: devices are points, named by their ids, and can be compared.
 *
 * All devices count as one volume.  How large a device is, is not in the
 * metadata: every one is as large as the mappings of the largest reach.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/format/thin-diff.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"

typedef struct {
  SnapVolume parent;
  SnapReader *reader;
  SnapThinSuperblock super;
  GArray *devices; /* SnapThinDevice */
  guint64 size;    /* bytes, of every device */
} MetaVolume;

/* Only by name: what looks like metadata may be anything. */
static int
meta_probe (const char *location)
{
  return 0;
}

/* ---- opening ---- */

static void
meta_close (SnapVolume *volume)
{
  MetaVolume *self = (MetaVolume *) volume;

  g_clear_pointer (&self->devices, g_array_unref);
  g_clear_pointer (&self->reader, snap_reader_free);
  g_free (volume->location);
  g_free (volume->part);
  g_free (volume->id);
  g_free (volume->label);
  g_free (self);
}

static void
close_half_open (MetaVolume *self)
{
  meta_close (&self->parent);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (MetaVolume, close_half_open)

/* O_DIRECT where it can be had: the kernel writes a pool's metadata behind
   the page cache.  O_NONBLOCK, so that a FIFO cannot hang us. */
static int
open_metadata (const char *location, SnapFileMode *mode, GError **error)
{
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  int fd = open (location, flags | O_DIRECT);

  *mode = SNAP_FILE_DIRECT;
  if (fd < 0 && errno == EINVAL) {
    fd = open (location, flags);
    *mode = SNAP_FILE_BUFFERED;
  }
  if (fd < 0)
    snap_error_set_errno (error, errno, "%s", location);
  return fd;
}

/* A pool that is in use changes its metadata while we read; only its metadata
   snapshot stands still. */
static gboolean
check_not_in_use (const char *location, GError **error)
{
  snap_autofd int fd = open (location, O_RDONLY | O_EXCL | O_CLOEXEC);

  if (fd >= 0 || errno != EBUSY)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_BUSY,
                         "in use by a pool that has no metadata snapshot "
                         "(`dmsetup message POOL 0 reserve_metadata_snap` "
                         "makes one)");
}

static gboolean
is_block_device (SnapReader *reader)
{
  struct stat st;

  return fstat (snap_file_reader_fd (reader), &st) == 0 && S_ISBLK (st.st_mode);
}

static gboolean
read_super (MetaVolume *self, GError **error)
{
  guint64 held;

  if (!snap_thin_superblock_read (self->reader, 0, &self->super, error))
    return FALSE;
  held = self->super.held_root;
  if (held != 0)
    return snap_thin_superblock_read (self->reader, held, &self->super, error);
  return !is_block_device (self->reader)
         || check_not_in_use (self->parent.location, error);
}

static gboolean
measure (MetaVolume *self, GError **error)
{
  for (guint i = 0; i < self->devices->len; i++) {
    guint64 end;

    if (!snap_thin_device_end (
            self->reader, &self->super,
            &g_array_index (self->devices, SnapThinDevice, i), &end, error))
      return FALSE;
    self->size = MAX (self->size, end);
  }
  return TRUE;
}

static gboolean
load (MetaVolume *self, GError **error)
{
  if (!read_super (self, error))
    return FALSE;
  self->devices = snap_thin_devices_read (self->reader, &self->super, error);
  return self->devices != NULL && measure (self, error);
}

static gboolean
open_reader (MetaVolume *self, GError **error)
{
  const char *location = self->parent.location;
  SnapFileMode mode;
  struct stat st;
  int fd = open_metadata (location, &mode, error);

  if (fd < 0)
    return FALSE;
  if (fstat (fd, &st) == 0)
    self->parent.id =
        g_strdup_printf ("%" G_GINT64_MODIFIER "x:%" G_GINT64_MODIFIER "u",
                         (guint64) st.st_dev, (guint64) st.st_ino);
  self->reader = snap_file_reader_take (fd, mode, location, error);
  return self->reader != NULL;
}

static SnapVolume *
meta_open (const char *location, const char *part,
           const SnapOpenOptions *options, GError **error)
{
  g_autoptr (MetaVolume) self = g_new0 (MetaVolume, 1);

  self->parent.driver = &snap_driver_thin_meta;
  self->parent.location = g_strdup (location);
  self->parent.label = g_path_get_basename (location);
  if (part != NULL) {
    snap_error_set (error, SNAP_ERROR_USAGE, "%s#%s: metadata has no parts",
                    location, part);
    return NULL;
  }
  if (!open_reader (self, error))
    return NULL;
  if (load (self, error))
    return &g_steal_pointer (&self)->parent;
  g_prefix_error (error, "%s: ", location);
  return NULL;
}

/* ---- points ---- */

/* An id is given anew once its device is deleted, but not with these. */
static char *
format_identity (const SnapThinDevice *device)
{
  return g_strdup_printf ("%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT ".%u",
                          device->id, device->transaction_id,
                          device->creation_time);
}

static SnapPoint *
make_point (const MetaVolume *self, const SnapThinDevice *device)
{
  g_autofree char *name = g_strdup_printf ("%" G_GUINT64_FORMAT, device->id);
  SnapPoint *point = snap_point_new (SNAP_POINT_SNAPSHOT, name);

  point->id = format_identity (device);
  point->size = self->size;
  return point;
}

static GPtrArray *
meta_list (SnapVolume *volume, GError **error)
{
  const MetaVolume *self = (MetaVolume *) volume;
  GPtrArray *points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);

  for (guint i = 0; i < self->devices->len; i++)
    g_ptr_array_add (
        points,
        make_point (self, &g_array_index (self->devices, SnapThinDevice, i)));
  return points;
}

static const SnapThinDevice *
find_device (const MetaVolume *self, const SnapPoint *point)
{
  for (guint i = 0; i < self->devices->len; i++) {
    const SnapThinDevice *device =
        &g_array_index (self->devices, SnapThinDevice, i);
    g_autofree char *id = format_identity (device);

    if (g_str_equal (id, point->id))
      return device;
  }
  return NULL;
}

/* ---- diffs ---- */

static gboolean
meta_comparable (const SnapDiffRequest *request, GError **error)
{
  const MetaVolume *volume = (MetaVolume *) request->to_volume;

  if (g_str_equal (request->from_volume->id, request->to_volume->id)
      && find_device (volume, request->from) != NULL
      && find_device (volume, request->to) != NULL)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                         "%s@%s..%s: not two devices of one metadata",
                         request->to_volume->location, request->from->name,
                         request->to->name);
}

static gboolean
meta_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
           SnapExtentFunc emit, gpointer user_data, GError **error)
{
  MetaVolume *volume = (MetaVolume *) request->to_volume;
  SnapThinDiff diff = { .reader = volume->reader,
                        .super = &volume->super,
                        .from = find_device (volume, request->from),
                        .to = find_device (volume, request->to),
                        .unmapped_is_zero = TRUE,
                        .offset = request->offset,
                        .length = request->length };

  if (!meta_comparable (request, error))
    return FALSE;
  info->granularity = volume->super.chunk_size;
  info->proof = SNAP_PROOF_EXACT;
  info->source = "thin-metadata";
  if (snap_thin_diff (&diff, emit, user_data, error))
    return TRUE;
  g_prefix_error (error, "%s: ", volume->parent.location);
  return FALSE;
}

const SnapDriver snap_driver_thin_meta = {
  SNAP_DRIVER_INIT,
  .name = "thin-meta",
  .description = "metadata of a thin pool, offline: diffs only",
  .probe = meta_probe,
  .open = meta_open,
  .close = meta_close,
  .list = meta_list,
  .comparable = meta_comparable,
  .diff = meta_diff,
};
