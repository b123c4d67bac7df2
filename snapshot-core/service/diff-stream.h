/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to diffs: the stage between a driver and whoever wants its extents.
 *
 * It holds the driver to the contract (ascending, no overlap, all dirty),
 * clips to the newer size, makes bytes past the older size dirty where the
 * driver said nothing, and coalesces.  It keeps one extent, whatever comes.
 */
#ifndef SNAP_SERVICE_DIFF_STREAM_H
#define SNAP_SERVICE_DIFF_STREAM_H

#include "snapshot-core/drivers/driver.h"

/* Zero-filled but for what the caller sets. */
typedef struct {
  /* Set by the caller: */
  SnapExtentFunc emit;
  gpointer user_data;
  guint64 from_size, size;
  const SnapDiffInfo *info;  /* the driver's granularity goes there first */
  const char *source;        /* for messages */
  GCancellable *cancellable; /* or NULL */

  guint64 driver_end;  /* everything before it the driver has said */
  guint64 covered_end; /* everything before it is passed on or clean */
  SnapExtent pending;  /* length 0: none */
  gboolean stopped;    /* the consumer has had enough */

  /* Of what was passed on: */
  guint64 dirty_bytes;
  gsize n_extents;
} SnapDiffStream;

/* A SnapExtentFunc; @stream is the SnapDiffStream.  Errors: FAILED (the driver
   breaks the contract), CANCELLED, and those of the consumer. */
gboolean snap_diff_stream_push (const SnapExtent *extent, gpointer stream,
                                GError **error);

/* Say what is left after the last extent. */
gboolean snap_diff_stream_finish (SnapDiffStream *self, GError **error);

#endif
