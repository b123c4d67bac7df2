/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a guest is kept quiet while its disks are cut, from weak to strong.
 */
#ifndef SNAP_BASE_QUIESCE_H
#define SNAP_BASE_QUIESCE_H

#include <glib.h>

typedef enum {
  SNAP_QUIESCE_NONE,  /* not at all */
  SNAP_QUIESCE_PAUSE, /* its processors stand still: as after a power failure */
  SNAP_QUIESCE_AGENT, /* its file systems are frozen too, by its agent */
} SnapQuiesce;

/* "none", "pause", "agent"; static. */
const char *snap_quiesce_name (SnapQuiesce quiesce);

/* FALSE if @name is none of them. */
gboolean snap_quiesce_parse (const char *name, SnapQuiesce *quiesce);

#endif
