/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to exports: what connections share.  A point is opened by the first
 * and closed by the last of its users; a pair of points is compared once.
 */
#ifndef SNAP_SERVICE_EXPORT_POINT_H
#define SNAP_SERVICE_EXPORT_POINT_H

#include "snapshot-core/os/page-cache.h"
#include "snapshot-core/service/export.h"

typedef struct {
  SnapVolume *volume; /* a reference */
  SnapPoint *point;
  char *word; /* what it is called in export names */
  SnapHold *hold;

  GMutex lock;
  guint n_users;    /* under the lock */
  SnapImage *image; /* under the lock; while there are users */

  SnapPageCache *pages; /* of a file below the image, or NULL */
  int pages_fd;         /* that file, the image's, and how long it was */
  guint64 pages_size;
} SnapExportPoint;

/* Copy and hold a point.  Errors: BUSY, IO. */
SnapExportPoint *snap_export_point_new (SnapState *state, SnapVolume *volume,
                                        const SnapPoint *point,
                                        const char *word, GError **error);
void snap_export_point_free (SnapExportPoint *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapExportPoint, snap_export_point_free)

/* The image, good until snap_export_point_close(), one for each open. */
SnapImage *snap_export_point_open (SnapExportPoint *self, GError **error);
void snap_export_point_close (SnapExportPoint *self);

/* Open the image for good, with all that its first read takes.  What cannot
   be opened fails again when a client wants it. */
void snap_export_point_keep_open (SnapExportPoint *self);

/* Compare two points that are held.  Any thread.  Errors: as
   snap_diff_run(). */
gboolean snap_export_points_compare (SnapExportPoint *from, SnapExportPoint *to,
                                     GCancellable *cancellable,
                                     SnapExtentFunc emit, gpointer user_data,
                                     GError **error);

/* Somebody who compares two points of an export. */
typedef gboolean (*SnapExportCompareFunc) (SnapExportPoint *from,
                                           SnapExportPoint *to,
                                           SnapExtentFunc emit,
                                           gpointer emit_data,
                                           gpointer user_data, GError **error);

struct _SnapExportPair {
  SnapExportPoint *from, *to; /* borrowed */
  SnapExportCompareFunc compare;
  gpointer compare_data;

  GMutex lock;
  gint done;          /* atomic; the rest is under the lock, final once done */
  SnapExtents *dirty; /* NULL: it failed */
  GError *error;
};

SnapExportPair *snap_export_pair_new (SnapExportPoint *from,
                                      SnapExportPoint *to,
                                      SnapExportCompareFunc compare,
                                      gpointer compare_data);
void snap_export_pair_free (SnapExportPair *self);

#endif
