/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Block status: from the core's extents to what base:allocation says.
 *
 *   SNAP        data 0; holes that read as zeroes HOLE|ZERO
 *   BASE..SNAP  clean HOLE; dirty 0; dirty and known zero ZERO
 *
 * A clean range reads as its real data and never has the ZERO bit: a client
 * would write zeroes over what the base holds there.
 */
#ifndef NBDKIT_PLUGIN_EXTENTS_H
#define NBDKIT_PLUGIN_EXTENTS_H

#include "snapshot-core/service/export.h"

struct nbdkit_extents;

/*
 * Report [offset, offset + length), inside the export, never more: nbdkit
 * would abort on a range longer than the request.  With @one, stop after the
 * first.  Time is O(log n) in the changes of the export plus what is reported.
 *
 * Errors: why the diff could not be made, IO.
 */
gboolean plugin_extents (SnapExport *export, guint64 offset, guint64 length,
                         gboolean one, struct nbdkit_extents *extents,
                         GError **error);

#endif
