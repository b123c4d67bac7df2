/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data of one point.  Plain clusters are read from the image itself, and
 * may be sent from it without a copy; what needs decoding or lies in a backing
 * file is read through a qemu-nbd of our own, started at the first such read.
 */
#include "config.h"

#include "snapshot-core/drivers/qcow2/qcow2.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/file-reader.h"
#include "snapshot-core/os/nbd-source.h"

/* Connections to qemu-nbd: as many reads can be under way in it. */
#define N_CONNECTIONS 4

/* Descriptors of the chain in qemu-nbd; 3 is its listening socket. */
#define FIRST_CHAIN_FD 4

/* Sizes of disks are multiples of it, bytes. */
#define SECTOR 512

typedef struct {
  SnapImage parent;
  Qcow2Volume *volume; /* borrowed: outlives its images */
  SnapPoint *point;
  SnapQcow2Layer *layer;
  int fd; /* of the image, borrowed */
  guint64 file_size;
  guint64 backing_size;

  GMutex lock; /* guards the next two */
  SnapNbdSource *source;
  GError *source_error; /* why it did not start; kept for every reader */
} Qcow2Image;

/* ---- through qemu-nbd ---- */

static GPtrArray *
server_arguments (Qcow2Image *self)
{
  GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
  char *secret = qcow2_secret_object (self->volume);

  g_ptr_array_add (argv, g_strdup ("qemu-nbd"));
  g_ptr_array_add (argv, g_strdup ("--read-only"));
  g_ptr_array_add (argv, g_strdup_printf ("--shared=%d", N_CONNECTIONS));
  if (secret != NULL) {
    g_ptr_array_add (argv, g_strdup ("--object"));
    g_ptr_array_add (argv, secret);
  }
  if (self->point->kind == SNAP_POINT_SNAPSHOT) {
    g_autofree char *name = qcow2_escape_option (self->point->handle);
    g_autofree char *id =
        g_strndup (self->point->id, strcspn (self->point->id, "/"));

    g_ptr_array_add (argv, g_strdup ("--load-snapshot"));
    g_ptr_array_add (
        argv, g_strdup_printf ("snapshot.id=%s,snapshot.name=%s", id, name));
  }
  g_ptr_array_add (argv, qcow2_chain_describe (self->volume->chain,
                                               FIRST_CHAIN_FD, secret != NULL));
  g_ptr_array_add (argv, NULL);
  return argv;
}

static void
explain (const Qcow2Volume *volume, GError *reason)
{
  char *words =
      qcow2_chain_explain (volume->chain, FIRST_CHAIN_FD, reason->message);

  g_free (reason->message);
  reason->message = words;
}

static void
start_source (Qcow2Image *self)
{
  const Qcow2File *file = qcow2_volume_file (self->volume);
  g_autoptr (GPtrArray) argv = server_arguments (self);
  g_autoptr (GArray) fds = NULL;
  g_autofree char *name =
      g_strdup_printf ("%s@%s", file->path, self->point->name);

  if (file->header->crypt_method != 0 && self->volume->secret_file == NULL) {
    snap_error_set (&self->source_error, SNAP_ERROR_UNSUPPORTED,
                    "%s: encrypted, and no secret file was given", name);
    return;
  }
  fds = qcow2_chain_reopen (self->volume->chain, &self->source_error);
  if (fds == NULL)
    return;
  self->source = snap_nbd_source_spawn (
      (const char *const *) argv->pdata, (const int *) fds->data, fds->len, "",
      N_CONNECTIONS, name, &self->source_error);
  if (self->source == NULL)
    explain (self->volume, self->source_error);
}

static SnapNbdSource *
get_source (Qcow2Image *self, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (self->source == NULL && self->source_error == NULL)
    start_source (self);
  if (self->source == NULL)
    g_propagate_error (error, g_error_copy (self->source_error));
  return self->source;
}

/* An encrypted disk is served in whole sectors only. */
static gboolean
read_sectors (SnapNbdSource *source, guint64 offset, void *buffer, gsize length,
              GError **error)
{
  guint64 begin = offset & ~(guint64) (SECTOR - 1);
  guint64 end = (offset + length + SECTOR - 1) & ~(guint64) (SECTOR - 1);
  g_autofree guint8 *sectors = NULL;

  if (begin == offset && end == offset + length)
    return snap_nbd_source_read (source, offset, buffer, length, error);
  sectors = g_malloc (end - begin);
  if (!snap_nbd_source_read (source, begin, sectors, end - begin, error))
    return FALSE;
  memcpy (buffer, sectors + (offset - begin), length);
  return TRUE;
}

/*
 * qemu-nbd gives every snapshot the size of the image today.  What lies past
 * that in a snapshot that was larger cannot be had from it, and zeroes would
 * be a lie.
 */
static gboolean
read_source (Qcow2Image *self, guint64 offset, void *buffer, gsize length,
             GError **error)
{
  SnapNbdSource *source = get_source (self, error);
  guint64 size;

  if (source == NULL)
    return FALSE;
  size = snap_nbd_source_size (source);
  if (offset <= size && length <= size - offset)
    return read_sectors (source, offset, buffer, length, error);
  return snap_error_set (
      error, SNAP_ERROR_IO,
      "%s@%s: the image was shrunk to %" G_GUINT64_FORMAT
      " bytes since, and what this snapshot holds past that is compressed, "
      "encrypted or in the backing file",
      qcow2_volume_file (self->volume)->path, self->point->name, size);
}

/* ---- from the image file ---- */

static gboolean
fail_read (Qcow2Image *self, const char *what, guint64 host_offset,
           GError **error)
{
  return snap_error_set (error, SNAP_ERROR_IO, "%s: %s at %" G_GUINT64_FORMAT,
                         qcow2_volume_file (self->volume)->path, what,
                         host_offset);
}

/* The last cluster may end past the end of the file: the rest is zeroes.  One
   that starts there was cut off. */
static gboolean
read_file (Qcow2Image *self, guint64 host_offset, guint8 *buffer, gsize length,
           GError **error)
{
  if (host_offset >= self->file_size)
    return fail_read (self, "a cluster lies past the end of the file",
                      host_offset, error);
  while (length > 0) {
    ssize_t n = pread (self->fd, buffer, length, host_offset);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail_read (self, g_strerror (errno), host_offset, error);
    if (n == 0 && host_offset < self->file_size)
      return fail_read (self, "the file became shorter while it was served",
                        host_offset, error);
    if (n == 0)
      break;
    buffer += n;
    host_offset += n;
    length -= n;
  }
  memset (buffer, 0, length);
  return TRUE;
}

/* ---- the ops ---- */

typedef enum {
  FROM_FILE,
  FROM_SOURCE,
  FROM_NOWHERE, /* zeroes */
} Origin;

/* Where a run's bytes come from; cuts the run where that changes. */
static Origin
find_origin (Qcow2Image *self, guint64 offset, SnapQcow2Run *run)
{
  switch (run->kind) {
  case SNAP_QCOW2_DATA:
    return qcow2_volume_file (self->volume)->header->crypt_method == 0
               ? FROM_FILE
               : FROM_SOURCE;
  case SNAP_QCOW2_COMPRESSED:
    return FROM_SOURCE;
  case SNAP_QCOW2_ZERO:
    return FROM_NOWHERE;
  case SNAP_QCOW2_UNALLOCATED:
    break;
  }
  if (offset >= self->backing_size)
    return FROM_NOWHERE;
  run->length = MIN (run->length, self->backing_size - offset);
  return FROM_SOURCE;
}

static gboolean
find_run (Qcow2Image *self, guint64 offset, guint64 length, SnapQcow2Run *run,
          Origin *origin, GError **error)
{
  if (!snap_qcow2_layer_run (self->layer, offset, length, run, error)) {
    g_prefix_error (error, "%s@%s: ", qcow2_volume_file (self->volume)->path,
                    self->point->name);
    return FALSE;
  }
  *origin = find_origin (self, offset, run);
  return TRUE;
}

static gboolean
read_run (Qcow2Image *self, Origin origin, const SnapQcow2Run *run,
          guint64 offset, void *buffer, GError **error)
{
  switch (origin) {
  case FROM_FILE:
    return read_file (self, run->host_offset, buffer, run->length, error);
  case FROM_SOURCE:
    return read_source (self, offset, buffer, run->length, error);
  case FROM_NOWHERE:
  default:
    memset (buffer, 0, run->length);
    return TRUE;
  }
}

static gboolean
qcow2_image_read_at (SnapImage *image, guint64 offset, void *buffer,
                     gsize length, GError **error)
{
  Qcow2Image *self = (Qcow2Image *) image;
  guint8 *at = buffer;

  while (length > 0) {
    SnapQcow2Run run;
    Origin origin;

    if (!find_run (self, offset, length, &run, &origin, error)
        || !read_run (self, origin, &run, offset, at, error))
      return FALSE;
    at += run.length;
    offset += run.length;
    length -= run.length;
  }
  return TRUE;
}

static gboolean
qcow2_image_extents (SnapImage *image, guint64 offset, guint64 length,
                     SnapExtentFunc emit, gpointer user_data, GError **error)
{
  Qcow2Image *self = (Qcow2Image *) image;
  guint64 end = offset + length;
  SnapExtent extent = { .offset = offset };

  for (; extent.offset < end; extent.offset += extent.length) {
    g_autoptr (GError) stop = NULL;
    SnapQcow2Run run;
    Origin origin;

    if (!find_run (self, extent.offset, end - extent.offset, &run, &origin,
                   error))
      return FALSE;
    extent.length = run.length;
    extent.flags =
        origin == FROM_NOWHERE ? SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO : 0;
    if (emit (&extent, user_data, &stop))
      continue;
    if (stop == NULL)
      return TRUE;
    g_propagate_error (error, g_steal_pointer (&stop));
    return FALSE;
  }
  return TRUE;
}

static gboolean
qcow2_image_file_range (SnapImage *image, guint64 offset, guint64 length,
                        SnapFileRange *range)
{
  Qcow2Image *self = (Qcow2Image *) image;
  SnapQcow2Run run;
  Origin origin;

  if (offset >= image->size || length == 0
      || !find_run (self, offset, length, &run, &origin, NULL)
      || origin != FROM_FILE || run.host_offset >= self->file_size)
    return FALSE;
  range->fd = self->fd;
  range->fd_offset = run.host_offset;
  range->length = MIN (run.length, self->file_size - run.host_offset);
  return TRUE;
}

static void
qcow2_image_close (SnapImage *image)
{
  Qcow2Image *self = (Qcow2Image *) image;

  g_clear_pointer (&self->source, snap_nbd_source_close);
  g_clear_error (&self->source_error);
  g_clear_pointer (&self->layer, snap_qcow2_layer_close);
  g_clear_pointer (&self->point, snap_point_free);
  g_mutex_clear (&self->lock);
  g_free (self);
}

static const SnapImageOps image_ops = {
  .struct_size = sizeof (SnapImageOps),
  .read_at = qcow2_image_read_at,
  .extents = qcow2_image_extents,
  .file_range = qcow2_image_file_range,
  .close = qcow2_image_close,
};

SnapImage *
qcow2_image_open (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  Qcow2Volume *owner = (Qcow2Volume *) volume;
  const Qcow2File *file = qcow2_volume_file (owner);
  SnapQcow2Layer *layer;
  Qcow2Image *self;

  if (point->kind != SNAP_POINT_SNAPSHOT && point->kind != SNAP_POINT_LIVE) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s@%s: only snapshots and the live image can be read",
                    file->path, point->name);
    return NULL;
  }
  layer = qcow2_point_layer (owner, point, error);
  if (layer == NULL)
    return NULL;
  self = g_new0 (Qcow2Image, 1);
  self->parent.ops = &image_ops;
  self->parent.size = point->size;
  self->volume = owner;
  self->point = snap_point_dup (point);
  self->layer = layer;
  self->fd = snap_file_reader_fd (file->reader);
  self->file_size = file->reader->size;
  self->backing_size = qcow2_volume_backing_size (owner);
  g_mutex_init (&self->lock);
  return &self->parent;
}
