/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/sent.h"

/* More than a socket holds on both sides, bytes: the kernel takes its time over
   pages that are still in use. */
#define BEHIND (16 * 1024 * 1024)

/* Neighbours are dropped together, between multiples of this length: that is
   also what an export drops without looking at what lies beside it. */
#define TOGETHER (4 * 1024 * 1024)

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
      || range->fd_offset % TOGETHER == 0)
    return FALSE;
  last->length += range->length;
  return TRUE;
}

static void
add_part (SnapNbdSent *self, const SnapFileRange *part)
{
  if (!extend_last (self, part))
    g_queue_push_tail (&self->ranges, g_memdup2 (part, sizeof *part));
  self->length += part->length;
}

void
snap_nbd_sent_add (SnapNbdSent *self, const SnapFileRange *range)
{
  SnapFileRange part = *range;

  for (guint64 left = range->length; left > 0; left -= part.length) {
    part.length = MIN (left, TOGETHER - part.fd_offset % TOGETHER);
    add_part (self, &part);
    part.fd_offset += part.length;
  }
  while (self->length > BEHIND)
    drop_first (self);
}
