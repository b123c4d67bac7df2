/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to exports: what all of them and one of them consist of.
 */
#ifndef SNAP_SERVICE_EXPORT_PRIVATE_H
#define SNAP_SERVICE_EXPORT_PRIVATE_H

#include "snapshot-core/os/twin.h"
#include "snapshot-core/service/export-names.h"

struct _SnapExports {
  SnapState *state;    /* borrowed */
  GPtrArray *volumes;  /* SnapExportVolume, unchanged once resolved */
  GPtrArray *names;    /* SnapExportName, those that are listed */
  GHashTable *by_name; /* the same by their names */
  char *default_name;

  GMutex lock;
  GHashTable *pairs; /* name → SnapExportPair, grows under the lock */

  GCancellable *cancellable; /* ends comparisons */
  SnapTwin *twin;            /* makes them, if it is there */
};

struct _SnapExport {
  SnapExports *exports;
  SnapExportVolume *volume;
  SnapExportPoint *point; /* open for as long as this is */
  SnapImage *image;       /* of the point */
  SnapExportPair *pair;   /* NULL without a range */
  char *name;
  char *description;
};

/* Whether two points of a volume can be compared.  Errors: NOT_COMPARABLE,
   USAGE. */
gboolean snap_exports_check (SnapExports *self, SnapExportPoint *from,
                             SnapExportPoint *to, GError **error);

/* The pair of two points of @volume, made at its first use and then kept. */
SnapExportPair *snap_exports_pair_of (SnapExports *self,
                                      SnapExportVolume *volume,
                                      SnapExportPoint *from,
                                      SnapExportPoint *to);

#endif
