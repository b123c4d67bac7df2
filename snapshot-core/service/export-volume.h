/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to exports: one served volume, the points of it that may be asked
 * for, and how they are called in export names.
 */
#ifndef SNAP_SERVICE_EXPORT_VOLUME_H
#define SNAP_SERVICE_EXPORT_VOLUME_H

#include "snapshot-core/service/export-point.h"
#include "snapshot-core/service/export.h"
#include "snapshot-core/service/point-words.h"

/* The most snapshots of a volume that is served whole. */
#define SNAP_EXPORT_MAX_SNAPSHOTS 4096

typedef struct {
  SnapVolume *volume;
  char *label;
  gboolean labelled;     /* by the user */
  gboolean everything;   /* any pair of its points may be asked for */
  const char *prefix;    /* "" or label_prefix */
  char *label_prefix;    /* "LABEL@", encoded as in a reference */
  GPtrArray *snapshots;  /* SnapPoint, oldest first: fixed at the start */
  SnapPointWords *words; /* what the snapshots are called */
  GPtrArray *points;     /* SnapExportPoint: the ones that are held; with
                           everything, the snapshots come first, in order */
} SnapExportVolume;

/* Take over a reference to @volume; @label may be NULL. */
SnapExportVolume *snap_export_volume_new (SnapVolume *volume,
                                          const char *label);
void snap_export_volume_free (SnapExportVolume *self);

/* Fix the list of snapshots; and hold them all if everything is served. */
gboolean snap_export_volume_fix (SnapExportVolume *self, SnapState *state,
                                 GError **error);

/* Hold the point that @word means, borrowed from the volume. */
SnapExportPoint *snap_export_volume_hold (SnapExportVolume *self,
                                          SnapState *state, const char *word,
                                          GError **error);

/* Find a point that is held, or NULL. */
SnapExportPoint *snap_export_volume_lookup (SnapExportVolume *self,
                                            const char *word);

/* Called with a point that is held; FALSE is "enough". */
typedef gboolean (*SnapExportPointFunc) (SnapExportPoint *point,
                                         gpointer user_data);

/* The points that are held and older than @to, the nearest first, then the
   backing file. */
void snap_export_volume_each_older (SnapExportVolume *self,
                                    const SnapExportPoint *to,
                                    SnapExportPointFunc func,
                                    gpointer user_data);

/* Hold the snapshots that are older than @to and comparable with it, if
   nobody is deleting them. */
void snap_export_volume_hold_older (SnapExportVolume *self, SnapState *state,
                                    const SnapExportPoint *to);

/* "[LABEL@][FROM..]TO"; @from may be NULL.  The caller frees. */
char *snap_export_volume_name (SnapExportVolume *self,
                               const SnapExportPoint *from,
                               const SnapExportPoint *to);

/* One line for people, in UTF-8; the caller frees. */
char *snap_export_volume_describe (SnapExportVolume *self,
                                   const SnapExportPoint *from,
                                   const SnapExportPoint *to);

#endif
