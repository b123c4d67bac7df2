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
  guint64 asked;   /* up to here the run was asked for */
  guint64 served;  /* and this is what was served of it */
  guint64 fetched; /* up to here it was read ahead */
  guint64 window;  /* how far ahead of what was served; grows */
} SnapNbdAhead;

/* [offset, offset + length), maybe empty. */
typedef struct {
  guint64 offset, length;
} SnapNbdAheadRange;

/* A client asks for a range: what of it to read now.  What was read before and
   is not wanted any more is in *vain. */
SnapNbdAheadRange snap_nbd_ahead_ask (SnapNbdAhead *self, guint64 offset,
                                      guint64 length, SnapNbdAheadRange *vain);

/* It is served now, of an export of @size bytes: what to read that may be asked
   for next. */
SnapNbdAheadRange snap_nbd_ahead_serve (SnapNbdAhead *self, guint64 offset,
                                        guint64 length, guint64 size);

/* What was read and not asked for. */
SnapNbdAheadRange snap_nbd_ahead_rest (const SnapNbdAhead *self);

#endif
