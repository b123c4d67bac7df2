/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the qcow2 driver: internal snapshots of a qcow2 image.
 *
 *   driver.c  the ops: open, list, compare
 *   chain.c   the image and its backing files, opened and locked
 *   name.c    how our snapshots are called inside the image
 *   point.c   which layer of the image a point is
 *   create.c  creation and deletion, by qemu-img
 *   image.c   reads and allocation of one point
 */
#ifndef SNAP_DRIVERS_QCOW2_QCOW2_H
#define SNAP_DRIVERS_QCOW2_QCOW2_H

#include <sys/types.h>

#include "snapshot-core/drivers/driver.h"
#include "snapshot-core/format/qcow2-layer.h"
#include "snapshot-core/format/qcow2-snapshots.h"

/* ---- chain.c ---- */

/* The longest backing chain that is followed. */
#define QCOW2_MAX_CHAIN 64

/* One file of a backing chain. */
typedef struct {
  char *path; /* absolute */
  SnapReader *reader;
  SnapQcow2Header *header; /* NULL for a raw file */
  guint64 size;            /* of the disk in it, bytes */
  dev_t device;            /* what tells the file from all others */
  ino_t inode;
  gint64 changed_us; /* mtime or ctime, microseconds since the epoch */
} Qcow2File;

/*
 * Open and lock an image and everything below it, before parsing any of it.
 * The first element is the image; each Qcow2File is freed by the array.
 *
 * Errors: BUSY (somebody writes to one of them), UNSUPPORTED (a backing file
 * that is no plain file, or of another format), CORRUPT, NOT_FOUND, IO.
 */
GPtrArray *qcow2_chain_open (const char *path, GError **error);

/*
 * The chain as a file name for QEMU's tools, with every file given by a
 * descriptor that the program inherits: @first_fd for the image, then
 * upwards.  @with_key names the secret object "key".  The caller frees.
 */
char *qcow2_chain_describe (const GPtrArray *chain, int first_fd,
                            gboolean with_key);

/* Open every file once more, for a program that inherits them.  The array
   closes them. */
GArray *qcow2_chain_reopen (const GPtrArray *chain, GError **error);

/*
 * What a program said that was given this chain, with its own words for the
 * files (descriptions of ours, descriptors, names of nodes) put into paths;
 * the caller frees.
 */
char *qcow2_chain_explain (const GPtrArray *chain, int first_fd,
                           const char *text);

/* ---- the volume ---- */

typedef struct {
  SnapVolume parent;
  GPtrArray *chain; /* Qcow2File */
  char *secret_file;
} Qcow2Volume;

static inline const Qcow2File *
qcow2_volume_file (const Qcow2Volume *self)
{
  return g_ptr_array_index (self->chain, 0);
}

/* The backing file, or NULL. */
static inline const Qcow2File *
qcow2_volume_backing (const Qcow2Volume *self)
{
  return self->chain->len > 1 ? g_ptr_array_index (self->chain, 1) : NULL;
}

/* A text as the value of one of QEMU's comma-separated options; the caller
   frees. */
char *qcow2_escape_option (const char *text);

/* The key of an encrypted image as qemu's --object, named "key"; NULL without
   a secret file.  The caller frees. */
char *qcow2_secret_object (const Qcow2Volume *self);

/* Bytes of the disk below which unallocated clusters show a backing file. */
guint64 qcow2_volume_backing_size (const Qcow2Volume *self);

/* ---- name.c ---- */

/* "NAME.nbdsnap-SET_ID", or with @chain "NAME.nbdsnap-SET_ID-CHAIN"; the
   caller frees. */
char *qcow2_name_native (const char *name, const char *set_id,
                         const char *chain);

/* What a native name of ours says of the backing files; borrowed from it, NULL
   if there were none. */
const char *qcow2_name_chain (const char *native);

/* What a name would say of these files; NULL if the image stands alone.  The
   caller frees. */
char *qcow2_chain_name (const GPtrArray *chain);

/* Take a native name apart: TRUE with both parts (the caller frees) if it is
   one that we give, FALSE for anybody else's. */
gboolean qcow2_name_parse (const char *native, char **name, char **set_id);

/* ---- point.c ---- */

SnapPoint *qcow2_point_new (const SnapQcow2Snapshot *snapshot);

/*
 * Find the snapshot that a point is, by identity.  Sets *snapshots, which
 * owns the result.  NOT_FOUND if the image holds it no more.
 */
const SnapQcow2Snapshot *qcow2_point_find (const Qcow2Volume *volume,
                                           const SnapPoint *point,
                                           GPtrArray **snapshots,
                                           GError **error);

/* Open the layer of a SNAPSHOT or LIVE point. */
SnapQcow2Layer *qcow2_point_layer (const Qcow2Volume *volume,
                                   const SnapPoint *point, GError **error);

/* ---- bitmap.c ---- */

/* Append a CHECKPOINT point for each persistent bitmap.  Errors: CORRUPT, IO. */
gboolean qcow2_bitmap_list (const Qcow2Volume *volume, GPtrArray *points,
                            GError **error);

/* Refuse to compare from the bitmap that @from is, with the reason: always
   FALSE.  Errors: NOT_COMPARABLE, CORRUPT, IO. */
gboolean qcow2_bitmap_refuse (const Qcow2Volume *volume, const SnapPoint *from,
                              GError **error);

/* ---- create.c ---- */

SnapCut *qcow2_plan (SnapVolume *volume, const char *name, const char *set_id,
                     char **record, GError **error);
gboolean qcow2_cut (SnapCut **cuts, gsize n_cuts, GError **error);
gboolean qcow2_commit (SnapCut *cut, GError **error);
gboolean qcow2_abort (SnapCut *cut, GError **error);
void qcow2_free_cut (SnapCut *cut);
gboolean qcow2_recover (const char *record, SnapRecover action, GError **error);
gboolean qcow2_remove (SnapVolume *volume, const SnapPoint *point,
                       GError **error);

/* ---- image.c ---- */

SnapImage *qcow2_image_open (SnapVolume *volume, const SnapPoint *point,
                             GError **error);

#endif
