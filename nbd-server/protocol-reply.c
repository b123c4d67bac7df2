/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/protocol.h"

#include <string.h>

static guint8 *
put_be16 (guint8 *out, guint16 value)
{
  const guint16 big = GUINT16_TO_BE (value);

  memcpy (out, &big, sizeof big);
  return out + sizeof big;
}

static guint8 *
put_be32 (guint8 *out, guint32 value)
{
  const guint32 big = GUINT32_TO_BE (value);

  memcpy (out, &big, sizeof big);
  return out + sizeof big;
}

static guint8 *
put_be64 (guint8 *out, guint64 value)
{
  const guint64 big = GUINT64_TO_BE (value);

  memcpy (out, &big, sizeof big);
  return out + sizeof big;
}

gsize
snap_nbd_put_simple (guint8 *out, const SnapNbdReplyTo *to, SnapNbdError error)
{
  guint8 *at = put_be32 (out, SNAP_NBD_SIMPLE_REPLY_MAGIC);

  at = put_be32 (at, error);
  at = put_be64 (at, to->cookie);
  return at - out;
}

/* The header of a chunk, structured or extended. */
static guint8 *
put_chunk (guint8 *at, const SnapNbdReplyTo *to, guint16 type, guint32 length,
           gboolean is_last)
{
  gboolean extended = to->style == SNAP_NBD_EXTENDED;

  at = put_be32 (at, extended ? SNAP_NBD_EXTENDED_REPLY_MAGIC
                              : SNAP_NBD_STRUCTURED_REPLY_MAGIC);
  at = put_be16 (at, is_last ? SNAP_NBD_REPLY_FLAG_DONE : 0);
  at = put_be16 (at, type);
  at = put_be64 (at, to->cookie);
  if (!extended)
    return put_be32 (at, length);
  at = put_be64 (at, to->offset);
  return put_be64 (at, length);
}

gsize
snap_nbd_put_done (guint8 *out, const SnapNbdReplyTo *to)
{
  if (to->style == SNAP_NBD_SIMPLE)
    return snap_nbd_put_simple (out, to, SNAP_NBD_OK);
  return put_chunk (out, to, SNAP_NBD_REPLY_NONE, 0, TRUE) - out;
}

gsize
snap_nbd_put_error (guint8 *out, const SnapNbdReplyTo *to, SnapNbdError error,
                    const char *text)
{
  gsize length = text != NULL ? MIN (strlen (text), SNAP_NBD_MAX_STRING) : 0;
  guint8 *at;

  if (to->style == SNAP_NBD_SIMPLE)
    return snap_nbd_put_simple (out, to, error);
  at = put_chunk (out, to, SNAP_NBD_REPLY_ERROR, 6 + length, TRUE);
  at = put_be32 (at, error);
  at = put_be16 (at, length);
  /* The length is sent, not a NUL. */
  if (length > 0) /* NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
    memcpy (at, text, length);
  return at + length - out;
}

gsize
snap_nbd_put_data (guint8 *out, const SnapNbdReplyTo *to, guint64 offset,
                   guint32 length, gboolean is_last)
{
  guint8 *at;

  if (to->style == SNAP_NBD_SIMPLE)
    return snap_nbd_put_simple (out, to, SNAP_NBD_OK);
  at = put_chunk (out, to, SNAP_NBD_REPLY_OFFSET_DATA, 8 + length, is_last);
  return put_be64 (at, offset) - out;
}

gsize
snap_nbd_put_hole (guint8 *out, const SnapNbdReplyTo *to, guint64 offset,
                   guint32 length, gboolean is_last)
{
  guint8 *at = put_chunk (out, to, SNAP_NBD_REPLY_OFFSET_HOLE, 8 + 4, is_last);

  at = put_be64 (at, offset);
  return put_be32 (at, length) - out;
}

gsize
snap_nbd_put_status (guint8 *out, const SnapNbdReplyTo *to, guint32 context_id,
                     guint32 n_extents, gboolean is_last)
{
  guint8 *at;

  if (to->style != SNAP_NBD_EXTENDED) {
    at = put_chunk (out, to, SNAP_NBD_REPLY_BLOCK_STATUS, 4 + 8 * n_extents,
                    is_last);
    return put_be32 (at, context_id) - out;
  }
  at = put_chunk (out, to, SNAP_NBD_REPLY_BLOCK_STATUS_EXT, 8 + 16 * n_extents,
                  is_last);
  at = put_be32 (at, context_id);
  return put_be32 (at, n_extents) - out;
}

gsize
snap_nbd_put_extents (guint8 *out, SnapNbdStyle style,
                      const SnapNbdExtent *extents, gsize n_extents)
{
  guint8 *at = out;

  for (gsize i = 0; i < n_extents; i++)
    if (style == SNAP_NBD_EXTENDED) {
      at = put_be64 (at, extents[i].length);
      at = put_be64 (at, extents[i].flags);
    }
    else {
      at = put_be32 (at, extents[i].length);
      at = put_be32 (at, extents[i].flags);
    }
  return at - out;
}
