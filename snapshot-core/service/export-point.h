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

struct _SnapExportPair {
  SnapExportPoint *from, *to; /* borrowed */
  const gint *cancelled;      /* of all pairs; atomic */

  GMutex lock;
  gint done;          /* atomic; the rest is under the lock, final once done */
  SnapExtents *dirty; /* NULL: it failed */
  GError *error;
};

/* A run that finds *cancelled set fails. */
SnapExportPair *snap_export_pair_new (SnapExportPoint *from,
                                      SnapExportPoint *to,
                                      const gint *cancelled);
void snap_export_pair_free (SnapExportPair *self);

#endif
