/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to exports: from references on a command line to volumes and the
 * names of what is served of them.
 */
#ifndef SNAP_SERVICE_EXPORT_NAMES_H
#define SNAP_SERVICE_EXPORT_NAMES_H

#include "snapshot-core/service/export-volume.h"

/* The most names that are listed; more can be opened.  Clients take a list
   whole, and the pairs grow with the square of the snapshots. */
#define SNAP_EXPORT_MAX_LISTED 4096

typedef struct {
  char *name;
  char *description;
  SnapExportVolume *volume; /* borrowed, as are the next two */
  SnapExportPoint *from;    /* NULL for a point */
  SnapExportPoint *to;
} SnapExportName;

void snap_export_name_free (SnapExportName *self);
SnapExportName *snap_export_name_new (SnapExportVolume *volume,
                                      SnapExportPoint *from,
                                      SnapExportPoint *to);

/*
 * Open and fix the volumes of all sources and append them to @volumes
 * (SnapExportVolume), and to @names (SnapExportName) what is to be listed,
 * without doublets.  *default_name is the name of the first source's export;
 * the caller frees it.
 */
gboolean snap_export_names_resolve (SnapRegistry *registry, SnapState *state,
                                    const SnapExportSource *sources,
                                    gsize n_sources,
                                    const SnapOpenOptions *options,
                                    GPtrArray *volumes, GPtrArray *names,
                                    char **default_name, GError **error);

/*
 * Find the export that a client's @name means among volumes that are served
 * whole.  Of a range, whether it can be compared is not checked.  The caller
 * frees it.
 *
 * Errors: NOT_FOUND.
 */
SnapExportName *snap_export_names_find (const GPtrArray *volumes,
                                        const char *name, GError **error);

#endif
