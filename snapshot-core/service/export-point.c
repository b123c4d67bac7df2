/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export-point.h"

SnapExportPoint *
snap_export_point_new (SnapState *state, SnapVolume *volume,
                       const SnapPoint *point, const char *word, GError **error)
{
  SnapHold *hold = snap_hold_take (state, volume, point, SNAP_HOLD_USE, error);
  SnapExportPoint *self;

  if (hold == NULL)
    return NULL;
  self = g_new0 (SnapExportPoint, 1);
  self->volume = snap_volume_ref (volume);
  self->point = snap_point_dup (point);
  self->word = g_strdup (word);
  self->hold = hold;
  g_mutex_init (&self->lock);
  return self;
}

static void
close_image (SnapExportPoint *self)
{
  g_clear_pointer (&self->pages, snap_page_cache_free);
  self->image->ops->close (self->image);
  self->image = NULL;
}

void
snap_export_point_free (SnapExportPoint *self)
{
  if (self == NULL)
    return;
  if (self->image != NULL)
    close_image (self);
  snap_hold_release (self->hold);
  snap_point_free (self->point);
  g_free (self->word);
  snap_volume_unref (self->volume);
  g_mutex_clear (&self->lock);
  g_free (self);
}

SnapImage *
snap_export_point_open (SnapExportPoint *self, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  const SnapDriver *driver = self->volume->driver;

  if (driver->open_image == NULL) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s@%s: %s volumes cannot be read", self->volume->location,
                    self->point->name, driver->name);
    return NULL;
  }
  if (self->image == NULL)
    self->image = driver->open_image (self->volume, self->point, error);
  if (self->image != NULL)
    self->n_users++;
  return self->image;
}

void
snap_export_point_close (SnapExportPoint *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (--self->n_users > 0)
    return;
  close_image (self);
}

/* Some storage is only made ready by the first read. */
void
snap_export_point_keep_open (SnapExportPoint *self)
{
  SnapImage *image =
      self->point->no_image ? NULL : snap_export_point_open (self, NULL);
  guint8 byte;

  if (image != NULL && image->size > 0
      && self->volume->driver->activate != NULL)
    (void) image->ops->read_at (image, 0, &byte, sizeof byte, NULL);
}

gboolean
snap_export_points_compare (SnapExportPoint *from, SnapExportPoint *to,
                            GCancellable *cancellable, SnapExtentFunc emit,
                            gpointer user_data, GError **error)
{
  SnapDiffResult result;
  g_autoptr (SnapDiff) diff = snap_diff_new (NULL, from->volume, from->point,
                                             to->volume, to->point, error);

  if (diff == NULL)
    return FALSE;
  snap_diff_set_cancellable (diff, cancellable);
  return snap_diff_run (diff, emit, user_data, &result, error);
}

/* ---- pairs, of points that are held ---- */

SnapExportPair *
snap_export_pair_new (SnapExportPoint *from, SnapExportPoint *to,
                      SnapExportCompareFunc compare, gpointer compare_data)
{
  SnapExportPair *self = g_new0 (SnapExportPair, 1);

  self->from = from;
  self->to = to;
  self->compare = compare;
  self->compare_data = compare_data;
  g_mutex_init (&self->lock);
  return self;
}

void
snap_export_pair_free (SnapExportPair *self)
{
  g_clear_pointer (&self->dirty, snap_extents_unref);
  g_clear_error (&self->error);
  g_mutex_clear (&self->lock);
  g_free (self);
}

static SnapExtents *
compare (SnapExportPair *self, GError **error)
{
  g_autoptr (SnapExtents) dirty = snap_extents_new ();

  if (!self->compare (self->from, self->to, snap_extents_append_func, dirty,
                      self->compare_data, error))
    return NULL;
  return g_steal_pointer (&dirty);
}

const SnapExtents *
snap_export_pair_dirty (SnapExportPair *self, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (!self->done)
    self->dirty = compare (self, &self->error);
  g_atomic_int_set (&self->done, TRUE);
  if (self->dirty == NULL && error != NULL)
    *error = g_error_copy (self->error);
  return self->dirty;
}

gboolean
snap_export_pair_is_known (SnapExportPair *self)
{
  return g_atomic_int_get (&self->done);
}
