/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the points of one listing are called in references: by their names
 * where these are enough, by their identities elsewhere.
 */
#ifndef SNAP_SERVICE_POINT_WORDS_H
#define SNAP_SERVICE_POINT_WORDS_H

#include "snapshot-core/drivers/driver.h"

typedef struct _SnapPointWords SnapPointWords;

/* For @points, elements SnapPoint, which must outlive it. */
SnapPointWords *snap_point_words_new (const GPtrArray *points);
void snap_point_words_free (SnapPointWords *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapPointWords, snap_point_words_free)

/* The word that finds exactly @point; borrowed from it. */
const char *snap_point_words_get (const SnapPointWords *self,
                                  const SnapPoint *point);

#endif
