/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/ahead.h"

/* How far, bytes.  It is read again when half of it is used. */
#define WINDOW (2 * 1024 * 1024)

/* Requests that are in flight together come in any order. */
static gboolean
follows (const SnapNbdAhead *self, guint64 offset)
{
  guint64 back = MIN (self->next, WINDOW);

  return self->is_running && offset >= self->next - back
         && offset <= self->fetched;
}

SnapNbdAheadRange
snap_nbd_ahead_take (SnapNbdAhead *self, guint64 offset, guint64 length,
                     guint64 size)
{
  guint64 end = offset + length;
  gboolean continues = follows (self, offset);
  guint64 start = continues ? MAX (self->fetched, offset) : offset;
  guint64 wanted = continues ? end + MIN (WINDOW, size - end) : end;

  self->is_running = TRUE;
  self->next = continues ? MAX (self->next, end) : end;
  if (!continues)
    self->fetched = offset;
  if (wanted <= self->fetched
      || (end <= self->fetched && self->fetched - end >= WINDOW / 2))
    return (SnapNbdAheadRange){ start, 0 };
  self->fetched = wanted;
  return (SnapNbdAheadRange){ start, wanted - start };
}

SnapNbdAheadRange
snap_nbd_ahead_rest (const SnapNbdAhead *self)
{
  return (SnapNbdAheadRange){ self->next, self->fetched > self->next
                                              ? self->fetched - self->next
                                              : 0 };
}
