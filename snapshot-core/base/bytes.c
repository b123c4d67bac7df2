/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/bytes.h"

#include <string.h>

const guint8 *
snap_bytes_take (SnapBytes *self, gsize length)
{
  const guint8 *taken = self->at;

  if (self->failed || length > self->left) {
    self->failed = TRUE;
    return NULL;
  }
  if (length > 0) /* an empty buffer may be NULL, which has no "+ 0" */
    self->at += length;
  self->left -= length;
  return taken;
}

static void
take_into (SnapBytes *self, void *value, gsize length)
{
  const guint8 *taken = snap_bytes_take (self, length);

  if (taken != NULL)
    memcpy (value, taken, length);
  else
    memset (value, 0, length);
}

guint8
snap_bytes_take_u8 (SnapBytes *self)
{
  guint8 value;

  take_into (self, &value, sizeof value);
  return value;
}

guint16
snap_bytes_take_be16 (SnapBytes *self)
{
  guint16 value;

  take_into (self, &value, sizeof value);
  return GUINT16_FROM_BE (value);
}

guint32
snap_bytes_take_be32 (SnapBytes *self)
{
  guint32 value;

  take_into (self, &value, sizeof value);
  return GUINT32_FROM_BE (value);
}

guint64
snap_bytes_take_be64 (SnapBytes *self)
{
  guint64 value;

  take_into (self, &value, sizeof value);
  return GUINT64_FROM_BE (value);
}

guint32
snap_bytes_take_le32 (SnapBytes *self)
{
  guint32 value;

  take_into (self, &value, sizeof value);
  return GUINT32_FROM_LE (value);
}

guint64
snap_bytes_take_le64 (SnapBytes *self)
{
  guint64 value;

  take_into (self, &value, sizeof value);
  return GUINT64_FROM_LE (value);
}

void
snap_bytes_align (SnapBytes *self, const guint8 *start, gsize alignment)
{
  gsize past;

  g_return_if_fail (alignment > 0);

  past = (gsize) (self->at - start) % alignment;
  if (past > 0)
    snap_bytes_take (self, alignment - past);
}
