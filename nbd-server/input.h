/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has come from a peer and was not taken yet: one buffer that grows to a
 * limit and never more.
 */
#ifndef NBD_SERVER_INPUT_H
#define NBD_SERVER_INPUT_H

#include "nbd-server/stream.h"
#include "snapshot-core/base/bytes.h"

typedef struct {
  guint8 *buffer;
  gsize size;       /* of the buffer */
  gsize start, end; /* of what is in it */
} SnapNbdInput;

void snap_nbd_input_clear (SnapNbdInput *self);

/* What is there, to be taken from its front. */
SnapBytes snap_nbd_input_view (const SnapNbdInput *self);

/* Remember what a view has taken. */
void snap_nbd_input_took (SnapNbdInput *self, const SnapBytes *view);

/*
 * Read more: how many bytes, 0 at the end, -1 with an error.  A buffer that
 * is full grows to at most @limit, which is more than any message has; what was
 * borrowed from a view is gone.
 */
gssize snap_nbd_input_fill (SnapNbdInput *self, SnapNbdStream *stream,
                            gsize limit, GError **error);

/* The same without waiting: -1 if nothing is there. */
gssize snap_nbd_input_fill_now (SnapNbdInput *self, SnapNbdStream *stream,
                                gsize limit);

#endif
