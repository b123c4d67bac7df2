/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/fiemap.h"

#include <linux/fiemap.h>

#include "snapshot-core/base/error.h"

/*
 * What a flag may say without making the place doubtful.  SHARED and MERGED
 * are no news; every flag that is not named here, also one that is invented
 * tomorrow, means that equal places prove nothing.  ENCODED is not here: a
 * compressed extent has one place, whichever part of it a file refers to.
 */
#define HARMLESS_FLAGS                                                 \
  (FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_MERGED \
   | FIEMAP_EXTENT_SHARED)

typedef enum {
  ZEROES,
  PLACE,
  DOUBTFUL,
} Kind;

/* One file, and the extent at or after the point that was reached. */
typedef struct {
  SnapFiemap *map;
  guint64 size; /* from here on nothing is said */
  SnapFiemapExtent extent;
  gboolean more; /* the extent is one */
} Side;

static guint64
extent_end (const SnapFiemapExtent *extent)
{
  return extent->logical + extent->length;
}

/* ---- one side ---- */

static gboolean
check_extent (const SnapFiemapExtent *extent, guint64 previous_end,
              GError **error)
{
  if (extent->length > 0 && extent->logical >= previous_end
      && extent->length <= G_MAXUINT64 - extent->logical
      && extent->length <= G_MAXUINT64 - extent->physical)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_CORRUPT,
                         "map: the extent at %" G_GUINT64_FORMAT
                         " overlaps, goes backwards or wraps",
                         extent->logical);
}

/* Step over what ends at or before @offset. */
static gboolean
side_advance (Side *side, guint64 offset, GError **error)
{
  while (side->more && extent_end (&side->extent) <= offset) {
    guint64 end = extent_end (&side->extent);

    if (!side->map->ops->next (side->map, &side->extent, &side->more, error))
      return FALSE;
    if (side->more && !check_extent (&side->extent, end, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
side_init (Side *side, SnapFiemap *map, guint64 size, guint64 offset,
           GError **error)
{
  side->map = map;
  side->size = size;
  side->extent = (SnapFiemapExtent){ 0 };
  side->more = TRUE;
  return side_advance (side, offset, error);
}

static Kind
side_kind (const Side *side, guint64 offset)
{
  if (offset >= side->size)
    return DOUBTFUL;
  if (!side->more || side->extent.logical > offset)
    return ZEROES;
  if ((side->extent.flags & ~HARMLESS_FLAGS) != 0)
    return DOUBTFUL;
  return side->extent.flags & FIEMAP_EXTENT_UNWRITTEN ? ZEROES : PLACE;
}

static guint64
side_place (const Side *side, guint64 offset)
{
  return side->extent.physical + (offset - side->extent.logical);
}

/* Where the side is of another kind again, at most @end. */
static guint64
side_next_edge (const Side *side, guint64 offset, guint64 end)
{
  if (offset < side->size)
    end = MIN (end, side->size);
  if (!side->more)
    return end;
  if (side->extent.logical > offset)
    return MIN (side->extent.logical, end);
  return MIN (extent_end (&side->extent), end);
}

/* ---- both ---- */

static gboolean
is_same (const Side *from, const Side *to, guint64 offset)
{
  Kind kind = side_kind (to, offset);

  if (kind == DOUBTFUL || side_kind (from, offset) != kind)
    return FALSE;
  return kind == ZEROES || side_place (from, offset) == side_place (to, offset);
}

void
snap_fiemap_free (SnapFiemap *self)
{
  if (self != NULL)
    self->ops->free (self);
}

gboolean
snap_fiemap_compare (SnapFiemap *from_map, guint64 from_size,
                     SnapFiemap *to_map, guint64 offset, guint64 length,
                     SnapExtentFunc emit, gpointer user_data, GError **error)
{
  guint64 end = offset + length;
  Side from;
  Side to;

  if (!side_init (&from, from_map, from_size, offset, error)
      || !side_init (&to, to_map, G_MAXUINT64, offset, error))
    return FALSE;
  while (offset < end) {
    guint64 edge =
        side_next_edge (&to, offset, side_next_edge (&from, offset, end));
    SnapExtent extent = { offset, edge - offset, SNAP_EXTENT_DIRTY };

    if (side_kind (&to, offset) == ZEROES)
      extent.flags |= SNAP_EXTENT_ZERO;
    if (!is_same (&from, &to, offset) && !emit (&extent, user_data, error))
      return FALSE;
    offset = edge;
    if (!side_advance (&from, offset, error)
        || !side_advance (&to, offset, error))
      return FALSE;
  }
  return TRUE;
}
