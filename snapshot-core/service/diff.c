/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/diff.h"

#include "snapshot-core/service/diff-stream.h"

struct _SnapDiff {
  SnapVolume *from_volume, *to_volume;
  SnapPoint *from, *to;
  SnapHold *from_hold, *to_hold;
  GCancellable *cancellable;
};

/* Listing is one thread's at a time, but diffs of one volume may run
   together: so the check after each takes turns. */
static GMutex listing_lock;

/* ---- what can be compared ---- */

static gboolean
not_comparable (const SnapDiffRequest *request, const char *fact,
                GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s@%s..%s: %s",
                         request->to_volume->location, request->from->name,
                         request->to->name, fact);
}

static gboolean
involves_empty (const SnapPoint *from, const SnapPoint *to)
{
  return from->kind == SNAP_POINT_EMPTY || to->kind == SNAP_POINT_EMPTY;
}

/* What is there, against nothing, needs no comparing. */
static gboolean
check_comparable (const SnapDiffRequest *request, GError **error)
{
  const SnapDriver *driver = request->to_volume->driver;

  if (request->to->kind == SNAP_POINT_CHECKPOINT)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "%s@%s: a checkpoint has no data, it can only be "
                           "compared from",
                           request->to_volume->location, request->to->name);
  if (involves_empty (request->from, request->to))
    return TRUE;
  if (request->from_volume->driver != driver)
    return not_comparable (request, "the storages differ", error);
  if (driver->comparable == NULL)
    return not_comparable (request, "this storage cannot tell what changed",
                           error);
  return driver->comparable (request, error);
}

static SnapDiffRequest
make_request (SnapVolume *from_volume, const SnapPoint *from,
              SnapVolume *to_volume, const SnapPoint *to)
{
  return (SnapDiffRequest){
    .from_volume = from->kind == SNAP_POINT_EMPTY ? NULL : from_volume,
    .from = from,
    .to_volume = to_volume,
    .to = to,
    .length = to->size,
  };
}

gboolean
snap_diff_check (SnapVolume *volume, const SnapPoint *from, const SnapPoint *to,
                 GError **error)
{
  SnapDiffRequest request = make_request (volume, from, volume, to);

  return check_comparable (&request, error);
}

gboolean
snap_diff_comparable (SnapVolume *volume, const SnapPoint *from,
                      const SnapPoint *to)
{
  return snap_diff_check (volume, from, to, NULL);
}

static gboolean
hold_both (SnapDiff *self, SnapState *state, GError **error)
{
  self->from_hold = snap_hold_take (state, self->from_volume, self->from,
                                    SNAP_HOLD_USE, error);
  if (self->from_hold == NULL)
    return FALSE;
  self->to_hold =
      snap_hold_take (state, self->to_volume, self->to, SNAP_HOLD_USE, error);
  return self->to_hold != NULL;
}

SnapDiff *
snap_diff_new (SnapState *state, SnapVolume *from_volume, const SnapPoint *from,
               SnapVolume *to_volume, const SnapPoint *to, GError **error)
{
  g_autoptr (SnapDiff) self = g_new0 (SnapDiff, 1);
  SnapDiffRequest request = make_request (from_volume, from, to_volume, to);

  self->from_volume = snap_volume_ref (from_volume);
  self->to_volume = snap_volume_ref (to_volume);
  self->from = snap_point_dup (from);
  self->to = snap_point_dup (to);

  if ((state != NULL && !hold_both (self, state, error))
      || !check_comparable (&request, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
snap_diff_free (SnapDiff *self)
{
  if (self == NULL)
    return;
  g_clear_object (&self->cancellable);
  snap_hold_release (self->from_hold);
  snap_hold_release (self->to_hold);
  snap_point_free (self->from);
  snap_point_free (self->to);
  snap_volume_unref (self->from_volume);
  snap_volume_unref (self->to_volume);
  g_free (self);
}

const SnapPoint *
snap_diff_from (SnapDiff *self)
{
  return self->from;
}

const SnapPoint *
snap_diff_to (SnapDiff *self)
{
  return self->to;
}

void
snap_diff_set_cancellable (SnapDiff *self, GCancellable *cancellable)
{
  g_set_object (&self->cancellable, cancellable);
}

/* ---- is it still the same point ---- */

/* The point as the storage has it now; NULL without an error if it is gone.
   *points is what the volume lists, once that was asked for. */
static SnapPoint *
look_again (SnapVolume *volume, const SnapPoint *point, GPtrArray **points,
            GError **error)
{
  if (point->kind == SNAP_POINT_LIVE || point->kind == SNAP_POINT_BACKING)
    return volume->driver->special (volume, point->kind, error);
  if (*points == NULL)
    *points = volume->driver->list (volume, error);
  for (guint i = 0; *points != NULL && i < (*points)->len; i++) {
    const SnapPoint *now = g_ptr_array_index (*points, i);

    if (g_str_equal (now->id, point->id))
      return snap_point_dup (now);
  }
  return NULL;
}

static gboolean
check_unchanged (SnapVolume *volume, const SnapPoint *point, GPtrArray **points,
                 GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (SnapPoint) now = NULL;

  if (point->kind == SNAP_POINT_EMPTY)
    return TRUE;
  now = look_again (volume, point, points, &reason);
  if (now != NULL && g_str_equal (now->id, point->id)
      && g_str_equal (now->name, point->name) && now->size == point->size)
    return TRUE;
  if (reason != NULL
      && !g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND)) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                         "%s@%s: was deleted or replaced", volume->location,
                         point->name);
}

static gboolean
check_both_unchanged (SnapDiff *self, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&listing_lock);
  SnapVolume *volumes[] = { self->from_volume, self->to_volume };
  g_autoptr (GPtrArray) of_from = NULL;
  g_autoptr (GPtrArray) of_to = NULL;
  gboolean one_volume = self->from_volume == self->to_volume;

  snap_volumes_look_away (volumes, G_N_ELEMENTS (volumes));
  return check_unchanged (self->from_volume, self->from, &of_from, error)
         && check_unchanged (self->to_volume, self->to,
                             one_volume ? &of_from : &of_to, error);
}

/* ---- the run ---- */

/* Allocation as a diff against nothing: everything is dirty. */
static gboolean
push_allocation (const SnapExtent *extent, gpointer stream, GError **error)
{
  SnapExtent dirty = *extent;

  dirty.flags = SNAP_EXTENT_DIRTY | (extent->flags & SNAP_EXTENT_ZERO);
  return snap_diff_stream_push (&dirty, stream, error);
}

/* The stream makes dirty what is not said here: all of it, if the driver
   cannot tell what is allocated. */
static gboolean
diff_with_empty (SnapDiff *self, SnapDiffInfo *info, SnapDiffStream *stream,
                 GError **error)
{
  const SnapDriver *driver = self->to_volume->driver;
  SnapImage *image;
  gboolean done;

  *info = (SnapDiffInfo){ 1, SNAP_PROOF_EXACT, "allocation" };
  if (self->to->size == 0 || driver->open_image == NULL || self->to->no_image)
    return TRUE;
  image = driver->open_image (self->to_volume, self->to, error);
  if (image == NULL)
    return FALSE;
  done = image->ops->extents (image, 0, MIN (image->size, self->to->size),
                              push_allocation, stream, error);
  image->ops->close (image);
  return done;
}

static gboolean
diff_by_driver (SnapDiff *self, SnapDiffInfo *info, SnapDiffStream *stream,
                GError **error)
{
  SnapDiffRequest request =
      make_request (self->from_volume, self->from, self->to_volume, self->to);

  request.cancellable = self->cancellable;
  return self->to_volume->driver->diff (&request, info, snap_diff_stream_push,
                                        stream, error);
}

static gboolean
run_stream (SnapDiff *self, SnapDiffInfo *info, SnapDiffStream *stream,
            GError **error)
{
  gboolean said = involves_empty (self->from, self->to)
                      ? diff_with_empty (self, info, stream, error)
                      : diff_by_driver (self, info, stream, error);

  return said && snap_diff_stream_finish (stream, error)
         && check_both_unchanged (self, error);
}

gboolean
snap_diff_run (SnapDiff *self, SnapExtentFunc emit, gpointer user_data,
               SnapDiffResult *result, GError **error)
{
  SnapDiffStream stream = { .emit = emit, .user_data = user_data };
  GError *reason = NULL;

  *result =
      (SnapDiffResult){ .from_size = self->from->size, .size = self->to->size };
  stream.from_size = result->from_size;
  stream.size = result->size;
  stream.info = &result->info;
  stream.source = self->to_volume->driver->name;
  stream.cancellable = self->cancellable;

  if (run_stream (self, &result->info, &stream, &reason)) {
    result->dirty_bytes = stream.dirty_bytes;
    result->n_extents = stream.n_extents;
    return TRUE;
  }

  /* A point that went away is a base that is gone. */
  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND))
    reason->code = SNAP_ERROR_NOT_COMPARABLE;
  g_propagate_error (error, reason);
  return FALSE;
}

const char *
snap_proof_name (SnapProof proof)
{
  return proof == SNAP_PROOF_EXACT ? "exact" : "superset";
}
