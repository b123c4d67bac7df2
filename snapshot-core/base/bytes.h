/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bounds-checked cursor over bytes that somebody else wrote.
 *
 * A take past the end sets `failed`, yields zeroes and keeps failing; check
 * once after a group of takes.  No allocation, no alignment demands.
 */
#ifndef SNAP_BASE_BYTES_H
#define SNAP_BASE_BYTES_H

#include <glib.h>

typedef struct {
  const guint8 *at;
  gsize left;
  gboolean failed;
} SnapBytes;

guint8 snap_bytes_take_u8 (SnapBytes *self);
guint16 snap_bytes_take_be16 (SnapBytes *self);
guint32 snap_bytes_take_be32 (SnapBytes *self);
guint64 snap_bytes_take_be64 (SnapBytes *self);
guint32 snap_bytes_take_le32 (SnapBytes *self);
guint64 snap_bytes_take_le64 (SnapBytes *self);

/* Borrow the next @length bytes, or NULL (and failed). */
const guint8 *snap_bytes_take (SnapBytes *self, gsize length);

/* Skip bytes up to a multiple of @alignment counted from @start. */
void snap_bytes_align (SnapBytes *self, const guint8 *start, gsize alignment);

/* A big-endian u64 at element @index of an array the caller has sized. */
static inline guint64
snap_bytes_be64_at (const guint8 *array, gsize index)
{
  guint64 value;

  __builtin_memcpy (&value, array + index * 8, sizeof value);
  return GUINT64_FROM_BE (value);
}

#endif
