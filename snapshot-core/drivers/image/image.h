/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the image driver: a disk image that nobody uses, in one of the
 * formats that QEMU reads besides qcow2.
 *
 *   driver.c   the ops: open, points
 *   chain.c    the image and its backing files, opened and locked
 *   daemon.c   a qemu-storage-daemon that serves them to us, by QMP
 *   image.c    reads and allocation
 *   compare.c  the image with its backing file
 */
#ifndef SNAP_DRIVERS_IMAGE_IMAGE_H
#define SNAP_DRIVERS_IMAGE_IMAGE_H

#include "snapshot-core/drivers/driver.h"
#include "snapshot-core/format/disk-image.h"
#include "snapshot-core/os/nbd-source.h"

/* ---- chain.c ---- */

/* The longest backing chain that is followed. */
#define IMAGE_MAX_CHAIN 64

/* One file of a backing chain. */
typedef struct {
  char *path; /* absolute */
  SnapReader *reader;
  SnapDiskImage *header;
  gboolean is_device;
  guint64 size; /* of the disk in it, bytes; QEMU says it */
} ImageFile;

/*
 * Open and lock an image and everything below it, before any of it is looked
 * at.  @format names that of the image, or NULL: it is found out.  Each
 * ImageFile is freed by the array.
 *
 * Errors: USAGE (no such format), BUSY (somebody writes to one of them),
 * UNSUPPORTED, CORRUPT, NOT_FOUND, IO.
 */
GPtrArray *image_chain_open (const char *path, const char *format,
                             GError **error);

/* Open every file once more, for a program that inherits them.  The array
   closes them. */
GArray *image_chain_reopen (const GPtrArray *chain, GError **error);

/* ---- the volume ---- */

typedef struct {
  SnapVolume parent;
  GPtrArray *chain; /* ImageFile */
  char *secret_file;
} ImageVolume;

static inline ImageFile *
image_volume_file (const ImageVolume *self)
{
  return g_ptr_array_index (self->chain, 0);
}

/* The backing file, or NULL. */
static inline ImageFile *
image_volume_backing (const ImageVolume *self)
{
  return self->chain->len > 1 ? g_ptr_array_index (self->chain, 1) : NULL;
}

/* ---- daemon.c ---- */

/* How deep in the chain a cluster lies: 1 for the image itself. */
#define IMAGE_DEPTH "qemu:allocation-depth"

/* What all formats are read in, bytes. */
#define IMAGE_SECTOR 512

/* Start a daemon that serves the image, with SNAP_NBD_ALLOCATION and
   IMAGE_DEPTH.  It never outlives the source. */
SnapNbdSource *image_daemon_start (const ImageVolume *volume,
                                   guint n_connections, GError **error);

/* Ask a daemon, which is gone at the end, for the size of the disk in each
   file. */
gboolean image_daemon_measure (const ImageVolume *volume, GError **error);

/* ---- image.c ---- */

SnapImage *image_open_image (SnapVolume *volume, const SnapPoint *point,
                             GError **error);

/* See that no file of the chain was cut off. */
gboolean image_check_whole (const ImageVolume *volume, GError **error);

/*
 * Tell what in a range is zeroes, each piece with @flags besides.  FALSE without
 * an error when @emit has had enough.
 */
gboolean image_emit_zeroes (SnapNbdSource *source, guint64 offset,
                            guint64 length, guint32 flags, SnapExtentFunc emit,
                            gpointer user_data, GError **error);

/* ---- compare.c ---- */

gboolean image_comparable (const SnapDiffRequest *request, GError **error);
gboolean image_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
                     SnapExtentFunc emit, gpointer user_data, GError **error);

#endif
