/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/ahead.h"

/* How far ahead of what is served, bytes: little for who may only look at a few
   neighbours, and then enough for a disk that has to have many requests at a
   time.  A client that has asked for that much needs no more. */
#define FIRST_WINDOW (1024 * 1024)
#define MAX_WINDOW (8 * 1024 * 1024)

/* It is read on when that part of it is used. */
#define USED 8

/* Requests that are in flight together come in any order. */
static gboolean
follows (const SnapNbdAhead *self, guint64 offset)
{
  guint64 back = MIN (self->served, MAX_WINDOW);

  return self->is_running && offset >= self->served - back
         && offset <= self->fetched;
}

SnapNbdAheadRange
snap_nbd_ahead_ask (SnapNbdAhead *self, guint64 offset, guint64 length,
                    SnapNbdAheadRange *vain)
{
  guint64 end = offset + length;
  guint64 start;

  *vain = (SnapNbdAheadRange){ 0 };
  if (!follows (self, offset)) {
    *vain = snap_nbd_ahead_rest (self);
    *self = (SnapNbdAhead){ TRUE, offset, offset, offset, 0 };
  }
  start = MAX (self->fetched, offset);
  self->asked = MAX (self->asked, end);
  self->fetched = MAX (self->fetched, end);
  return (SnapNbdAheadRange){ start, end > start ? end - start : 0 };
}

SnapNbdAheadRange
snap_nbd_ahead_serve (SnapNbdAhead *self, guint64 offset, guint64 length,
                      guint64 size)
{
  guint64 start = self->fetched;
  guint64 wanted;

  if (!follows (self, offset))
    return (SnapNbdAheadRange){ 0 };
  self->served = MAX (self->served, offset + length);
  wanted = self->served + MIN (self->window, size - self->served);
  if (self->window == 0)
    self->window = FIRST_WINDOW;
  if (start >= wanted - (wanted - self->served) / USED)
    return (SnapNbdAheadRange){ start, 0 };
  self->fetched = wanted;
  self->window = MIN (self->window * 2, MAX_WINDOW);
  return (SnapNbdAheadRange){ start, wanted - start };
}

SnapNbdAheadRange
snap_nbd_ahead_rest (const SnapNbdAhead *self)
{
  return (SnapNbdAheadRange){ self->asked, self->fetched - self->asked };
}
