/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbdkit-plugin/extents.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>

/* An answer being made: one extent is kept back while it may still grow. */
typedef struct {
  struct nbdkit_extents *extents;
  gboolean one;
  gsize n_left; /* how many more nbdkit takes */
  guint64 offset, length;
  guint32 type;
  gboolean failed;
} Answer;

/* nbdkit refuses more in one answer; a shorter answer is legal. */
#define MAX_EXTENTS (1024 * 1024)

static Answer
answer_init (const PluginQuery *query, struct nbdkit_extents *extents)
{
  return (Answer){ .extents = extents,
                   .one = query->one,
                   .n_left = query->one ? 1 : MAX_EXTENTS,
                   .offset = query->offset };
}

static void
answer_flush (Answer *self)
{
  if (self->length == 0)
    return;
  if (nbdkit_add_extent (self->extents, self->offset, self->length, self->type)
      < 0)
    self->failed = TRUE;
  self->offset += self->length;
  self->length = 0;
  self->n_left--;
}

/* Append to the end of the answer.  FALSE: it is full. */
static gboolean
answer_add (Answer *self, guint64 length, guint32 type)
{
  if (self->length > 0 && self->type != type)
    answer_flush (self);
  if (self->n_left == 0 || self->failed)
    return FALSE;
  self->type = type;
  self->length += length;
  return TRUE;
}

static gboolean
answer_finish (Answer *self, GError **error)
{
  if (self->n_left > 0)
    answer_flush (self);
  return !self->failed
         || snap_error_set (error, SNAP_ERROR_IO, "extents: not accepted");
}

/* ---- a snapshot ---- */

static gboolean
add_allocation (const SnapExtent *extent, gpointer user_data, GError **error)
{
  guint32 type = 0;

  if ((extent->flags & SNAP_EXTENT_HOLE) != 0)
    type |= NBDKIT_EXTENT_HOLE;
  if ((extent->flags & SNAP_EXTENT_ZERO) != 0)
    type |= NBDKIT_EXTENT_ZERO;
  return answer_add (user_data, extent->length, type);
}

gboolean
plugin_extents_allocation (SnapExport *handle, const PluginQuery *query,
                           struct nbdkit_extents *extents, GError **error)
{
  Answer answer = answer_init (query, extents);

  return snap_export_allocation (handle, query->offset, query->length,
                                 add_allocation, &answer, error)
         && answer_finish (&answer, error);
}

/* ---- what changed ---- */

#define CLEAN NBDKIT_EXTENT_HOLE

static guint32
dirty_type (const SnapExtent *extent)
{
  return (extent->flags & SNAP_EXTENT_ZERO) != 0 ? NBDKIT_EXTENT_ZERO : 0;
}

gboolean
plugin_extents_dirty (SnapExport *handle, const PluginQuery *query,
                      struct nbdkit_extents *extents, GError **error)
{
  const SnapExtents *dirty = snap_export_dirty (handle, error);
  Answer answer = answer_init (query, extents);
  guint64 at = query->offset;
  guint64 end = query->offset + query->length;
  gboolean wanted = TRUE;

  if (dirty == NULL)
    return FALSE;
  for (gsize i = snap_extents_find (dirty, at);
       wanted && at < end && i < snap_extents_n (dirty); i++) {
    const SnapExtent *extent = snap_extents_at (dirty, i);
    guint64 begin = CLAMP (extent->offset, at, end);
    guint64 stop = MIN (extent->offset + extent->length, end);

    wanted = begin == at || answer_add (&answer, begin - at, CLEAN);
    if (wanted && begin < stop)
      wanted = answer_add (&answer, stop - begin, dirty_type (extent));
    at = MAX (begin, stop);
  }
  if (wanted && at < end)
    answer_add (&answer, end - at, CLEAN);
  return answer_finish (&answer, error);
}
