/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/input.h"

#include <string.h>

/* Holds more requests than a client has in flight, and most options. */
#define FIRST_SIZE 4096

void
snap_nbd_input_clear (SnapNbdInput *self)
{
  g_clear_pointer (&self->buffer, g_free);
  *self = (SnapNbdInput){ 0 };
}

SnapBytes
snap_nbd_input_view (const SnapNbdInput *self)
{
  return (SnapBytes){ .at = self->buffer + self->start,
                      .left = self->end - self->start };
}

void
snap_nbd_input_took (SnapNbdInput *self, const SnapBytes *view)
{
  self->start = self->end - view->left;
}

static void
make_room (SnapNbdInput *self, gsize limit)
{
  if (self->start > 0) {
    memmove (self->buffer, self->buffer + self->start, self->end - self->start);
    self->end -= self->start;
    self->start = 0;
  }
  if (self->end < self->size)
    return;
  self->size = MIN (self->size == 0 ? FIRST_SIZE : self->size * 2, limit);
  self->buffer = g_realloc (self->buffer, self->size);
}

gssize
snap_nbd_input_fill (SnapNbdInput *self, SnapNbdStream *stream, gsize limit,
                     GError **error)
{
  gssize n;

  make_room (self, limit);
  g_return_val_if_fail (self->end < self->size, -1);
  n = stream->ops->read (stream, self->buffer + self->end,
                         self->size - self->end, error);
  if (n > 0)
    self->end += n;
  return n;
}

gssize
snap_nbd_input_fill_now (SnapNbdInput *self, SnapNbdStream *stream, gsize limit)
{
  gssize n;

  make_room (self, limit);
  g_return_val_if_fail (self->end < self->size, -1);
  n = stream->ops->read_now (stream, self->buffer + self->end,
                             self->size - self->end);
  if (n > 0)
    self->end += n;
  return n;
}
