/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/extents.h"

struct _SnapExtents {
  gatomicrefcount ref_count;
  GArray *array; /* of SnapExtent, sorted and coalesced */
};

static guint64
extent_end (const SnapExtent *extent)
{
  return extent->offset + extent->length;
}

static SnapExtent *
nth (const SnapExtents *self, gsize index)
{
  return &g_array_index (self->array, SnapExtent, index);
}

/* The end of a range, cut off where offsets end. */
static guint64
range_end (guint64 offset, guint64 length)
{
  return length > G_MAXUINT64 - offset ? G_MAXUINT64 : offset + length;
}

/* ---- lists ---- */

SnapExtents *
snap_extents_new (void)
{
  SnapExtents *self = g_new0 (SnapExtents, 1);

  g_atomic_ref_count_init (&self->ref_count);
  self->array = g_array_new (FALSE, FALSE, sizeof (SnapExtent));
  return self;
}

SnapExtents *
snap_extents_ref (SnapExtents *self)
{
  g_atomic_ref_count_inc (&self->ref_count);
  return self;
}

void
snap_extents_unref (SnapExtents *self)
{
  if (!g_atomic_ref_count_dec (&self->ref_count))
    return;
  g_array_unref (self->array);
  g_free (self);
}

static SnapExtent *
last_extent (SnapExtents *self)
{
  if (self->array->len == 0)
    return NULL;
  return nth (self, self->array->len - 1);
}

void
snap_extents_append (SnapExtents *self, guint64 offset, guint64 length,
                     guint32 flags)
{
  const SnapExtent extent = { offset, length, flags };
  SnapExtent *last = last_extent (self);

  g_return_if_fail (length <= G_MAXUINT64 - offset);
  g_return_if_fail (last == NULL || offset >= extent_end (last));

  if (length == 0)
    return;
  if (last != NULL && extent_end (last) == offset && last->flags == flags)
    last->length += length;
  else
    g_array_append_val (self->array, extent);
}

gboolean
snap_extents_append_func (const SnapExtent *extent, gpointer user_data,
                          GError **error)
{
  snap_extents_append (user_data, extent->offset, extent->length,
                       extent->flags);
  return TRUE;
}

gsize
snap_extents_n (const SnapExtents *self)
{
  return self->array->len;
}

const SnapExtent *
snap_extents_at (const SnapExtents *self, gsize index)
{
  g_return_val_if_fail (index < self->array->len, NULL);

  return nth (self, index);
}

guint64
snap_extents_end (const SnapExtents *self)
{
  gsize n = snap_extents_n (self);

  return n == 0 ? 0 : extent_end (nth (self, n - 1));
}

guint64
snap_extents_bytes (const SnapExtents *self, guint32 flags)
{
  guint64 bytes = 0;

  for (gsize i = 0; i < snap_extents_n (self); i++) {
    const SnapExtent *extent = nth (self, i);

    if ((extent->flags & flags) == flags)
      bytes += extent->length;
  }
  return bytes;
}

gsize
snap_extents_find (const SnapExtents *self, guint64 offset)
{
  gsize low = 0, high = snap_extents_n (self);

  while (low < high) {
    gsize middle = low + (high - low) / 2;

    if (extent_end (nth (self, middle)) > offset)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/* ---- two lists together ---- */

void
snap_extents_pair_init (SnapExtentsPair *pair, const SnapExtents *a,
                        const SnapExtents *b)
{
  *pair = (SnapExtentsPair){ .a = a, .b = b };
}

/* The first extent that ends after @at, or NULL; moves *index there. */
static const SnapExtent *
skip_to (const SnapExtents *list, gsize *index, guint64 at)
{
  for (; *index < snap_extents_n (list); ++*index) {
    const SnapExtent *extent = nth (list, *index);

    if (extent_end (extent) > at)
      return extent;
  }
  return NULL;
}

/* Where after @at the list next changes: @extent's begin or its end. */
static guint64
next_border (const SnapExtent *extent, guint64 at)
{
  if (extent == NULL)
    return G_MAXUINT64;
  return extent->offset > at ? extent->offset : extent_end (extent);
}

static gboolean
covers (const SnapExtent *extent, guint64 at)
{
  return extent != NULL && extent->offset <= at;
}

gboolean
snap_extents_pair_next (SnapExtentsPair *pair)
{
  const SnapExtent *a = skip_to (pair->a, &pair->index_a, pair->at);
  const SnapExtent *b = skip_to (pair->b, &pair->index_b, pair->at);

  if (a == NULL && b == NULL)
    return FALSE;
  if (!covers (a, pair->at) && !covers (b, pair->at))
    pair->at = MIN (next_border (a, pair->at), next_border (b, pair->at));

  pair->has_a = covers (a, pair->at);
  pair->has_b = covers (b, pair->at);
  pair->flags_a = pair->has_a ? a->flags : 0;
  pair->flags_b = pair->has_b ? b->flags : 0;
  pair->offset = pair->at;
  pair->at = MIN (next_border (a, pair->at), next_border (b, pair->at));
  pair->length = pair->at - pair->offset;
  return TRUE;
}

SnapExtents *
snap_extents_union (const SnapExtents *a, const SnapExtents *b)
{
  SnapExtents *result = snap_extents_new ();
  SnapExtentsPair pair;

  snap_extents_pair_init (&pair, a, b);
  while (snap_extents_pair_next (&pair))
    snap_extents_append (result, pair.offset, pair.length,
                         pair.flags_a | pair.flags_b);
  return result;
}

SnapExtents *
snap_extents_intersect (const SnapExtents *a, const SnapExtents *b)
{
  SnapExtents *result = snap_extents_new ();
  SnapExtentsPair pair;

  snap_extents_pair_init (&pair, a, b);
  while (snap_extents_pair_next (&pair)) {
    if (pair.has_a && pair.has_b)
      snap_extents_append (result, pair.offset, pair.length,
                           pair.flags_a | pair.flags_b);
  }
  return result;
}

/* ---- one list, cut or grown ---- */

SnapExtents *
snap_extents_clip (const SnapExtents *self, guint64 offset, guint64 length)
{
  SnapExtents *result = snap_extents_new ();
  guint64 end = range_end (offset, length);

  for (gsize i = snap_extents_find (self, offset); i < snap_extents_n (self);
       i++) {
    const SnapExtent *extent = nth (self, i);
    guint64 from = MAX (extent->offset, offset);

    if (from >= end)
      break;
    snap_extents_append (result, from, MIN (extent_end (extent), end) - from,
                         extent->flags);
  }
  return result;
}

/* A granule of which only parts have been seen so far. */
typedef struct {
  SnapExtents *result;
  guint64 granularity;
  guint64 size;

  guint64 offset, length; /* of the granule, cut at size */
  guint64 covered;        /* bytes seen; 0: no granule is open */
  guint32 all, any;       /* flags that all, or any, of those bytes have */
} Granule;

static void
granule_finish (Granule *self)
{
  guint32 flags = self->any & SNAP_EXTENT_DIRTY;

  if (self->covered == 0)
    return;
  if (self->covered == self->length)
    flags |= self->all;
  snap_extents_append (self->result, self->offset, self->length, flags);
  self->covered = 0;
}

static void
granule_add (Granule *self, guint64 offset, guint64 length, guint32 flags)
{
  guint64 start = offset - offset % self->granularity;

  if (start != self->offset)
    granule_finish (self);
  if (self->covered == 0) {
    self->offset = start;
    self->length = MIN (self->granularity, self->size - start);
    self->all = flags;
    self->any = 0;
  }
  self->covered += length;
  self->all &= flags;
  self->any |= flags;
}

/* An extent is at most the end of a granule, whole ones, and a begin. */
static void
align_one (Granule *self, const SnapExtent *extent)
{
  guint64 at = extent->offset, end = extent_end (extent);

  while (at < end) {
    guint64 inside = at % self->granularity;
    guint64 whole = end - at - (end - at) % self->granularity;
    guint64 length = whole;

    if (inside == 0 && whole > 0) {
      granule_finish (self);
      snap_extents_append (self->result, at, whole, extent->flags);
    }
    else {
      length = MIN (self->granularity - inside, end - at);
      granule_add (self, at, length, extent->flags);
    }
    at += length;
  }
}

SnapExtents *
snap_extents_align (const SnapExtents *self, guint64 granularity, guint64 size)
{
  g_autoptr (SnapExtents) clipped = snap_extents_clip (self, 0, size);
  Granule granule = { .granularity = granularity, .size = size };

  g_return_val_if_fail (granularity > 0, NULL);

  granule.result = snap_extents_new ();
  for (gsize i = 0; i < snap_extents_n (clipped); i++)
    align_one (&granule, nth (clipped, i));
  granule_finish (&granule);
  return granule.result;
}
