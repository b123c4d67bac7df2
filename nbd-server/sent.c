/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/sent.h"

/* More than a socket holds on both sides, bytes. */
#define BEHIND (4 * 1024 * 1024)

/* Neighbours are dropped together, up to this length. */
#define MAX_TOGETHER (1024 * 1024)

void
snap_nbd_sent_init (SnapNbdSent *self, SnapExport *export)
{
  *self = (SnapNbdSent){ .export = export };
  g_queue_init (&self->ranges);
}

static void
drop_first (SnapNbdSent *self)
{
  g_autofree SnapFileRange *first = g_queue_pop_head (&self->ranges);

  self->length -= first->length;
  snap_export_drop (self->export, first);
}

void
snap_nbd_sent_clear (SnapNbdSent *self)
{
  while (!g_queue_is_empty (&self->ranges))
    drop_first (self);
}

static gboolean
extend_last (SnapNbdSent *self, const SnapFileRange *range)
{
  SnapFileRange *last = g_queue_peek_tail (&self->ranges);

  if (last == NULL || last->fd != range->fd
      || last->fd_offset + last->length != range->fd_offset
      || last->length + range->length > MAX_TOGETHER)
    return FALSE;
  last->length += range->length;
  return TRUE;
}

void
snap_nbd_sent_add (SnapNbdSent *self, const SnapFileRange *range)
{
  if (!extend_last (self, range))
    g_queue_push_tail (&self->ranges, g_memdup2 (range, sizeof *range));
  self->length += range->length;
  while (self->length > BEHIND)
    drop_first (self);
}
