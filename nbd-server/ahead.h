/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What to read ahead of a client: its requests, and more of them where they
 * follow each other.
 *
 * The kernel would do the same, but nobody knew which pages it brought in.
 * Pure.
 */
#ifndef NBD_SERVER_AHEAD_H
#define NBD_SERVER_AHEAD_H

#include <glib.h>

/* Zero-filled at first. */
typedef struct {
  gboolean is_running;
  guint64 next;    /* where the requests have come to */
  guint64 fetched; /* up to here it was read ahead */
} SnapNbdAhead;

/* [offset, offset + length), maybe empty. */
typedef struct {
  guint64 offset, length;
} SnapNbdAheadRange;

/* A client of an export of @size bytes asks for a range inside it: what to
   read now. */
SnapNbdAheadRange snap_nbd_ahead_take (SnapNbdAhead *self, guint64 offset,
                                       guint64 length, guint64 size);

/* What was read and not asked for. */
SnapNbdAheadRange snap_nbd_ahead_rest (const SnapNbdAhead *self);

#endif
