/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export.h"

#include <string.h>

#include "snapshot-core/service/export-names.h"
#include "snapshot-core/service/export-private.h"

/* ---- all exports ---- */

static void
index_names (SnapExports *self)
{
  for (guint i = 0; i < self->names->len; i++) {
    SnapExportName *name = g_ptr_array_index (self->names, i);

    g_hash_table_insert (self->by_name, name->name, name);
  }
}

static SnapExports *
exports_new (SnapState *state)
{
  SnapExports *self = g_new0 (SnapExports, 1);

  self->state = state;
  self->volumes =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_export_volume_free);
  self->names =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_export_name_free);
  self->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  self->pairs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free,
                                       (GDestroyNotify) snap_export_pair_free);
  self->cancellable = g_cancellable_new ();
  g_mutex_init (&self->lock);
  return self;
}

SnapExports *
snap_exports_resolve (SnapRegistry *registry, SnapState *state,
                      const SnapExportSource *sources, gsize n_sources,
                      const SnapOpenOptions *options, GError **error)
{
  g_autoptr (SnapExports) self = exports_new (state);

  if (!snap_export_names_resolve (registry, state, sources, n_sources, options,
                                  self->volumes, self->names,
                                  &self->default_name, error))
    return NULL;
  index_names (self);
  return g_steal_pointer (&self);
}

void
snap_exports_free (SnapExports *self)
{
  if (self == NULL)
    return;
  g_hash_table_unref (self->pairs);
  g_hash_table_unref (self->by_name);
  g_ptr_array_unref (self->names);
  g_ptr_array_unref (self->volumes);
  g_mutex_clear (&self->lock);
  g_free (self->default_name);
  g_object_unref (self->cancellable);
  snap_twin_end (self->twin);
  g_free (self);
}

void
snap_exports_list (SnapExports *self, SnapExportNameFunc func,
                   gpointer user_data)
{
  for (guint i = 0; i < self->names->len; i++) {
    const SnapExportName *name = g_ptr_array_index (self->names, i);

    if (!func (name->name, name->description, user_data))
      return;
  }
}

const char *
snap_exports_default (SnapExports *self)
{
  return self->default_name;
}

/* ---- opening one ---- */

static SnapExport *
open_named (SnapExports *exports, const SnapExportName *name, GError **error)
{
  SnapImage *image = snap_export_point_open (name->to, error);
  SnapExport *self;

  if (image == NULL)
    return NULL;
  self = g_new0 (SnapExport, 1);
  self->exports = exports;
  self->volume = name->volume;
  self->point = name->to;
  self->image = image;
  if (name->from != NULL)
    self->pair =
        snap_exports_pair_of (exports, name->volume, name->from, name->to);
  self->name = g_strdup (name->name);
  self->description = g_strdup (name->description);
  return self;
}

SnapExport *
snap_export_open (SnapExports *exports, const char *name, GError **error)
{
  const char *wanted = *name == '\0' && exports->default_name != NULL
                           ? exports->default_name
                           : name;
  SnapExportName *listed = g_hash_table_lookup (exports->by_name, wanted);
  SnapExportName *found;
  SnapExport *self;

  if (listed != NULL)
    return open_named (exports, listed, error);
  found = snap_export_names_find (exports->volumes, wanted, error);
  if (found == NULL)
    return NULL;
  self = found->from == NULL
                 || snap_exports_check (exports, found->from, found->to, error)
             ? open_named (exports, found, error)
             : NULL;
  snap_export_name_free (found);
  return self;
}

void
snap_export_close (SnapExport *self)
{
  if (self == NULL)
    return;
  snap_export_point_close (self->point);
  g_free (self->name);
  g_free (self->description);
  g_free (self);
}

const char *
snap_export_name (SnapExport *self)
{
  return self->name;
}

const char *
snap_export_description (SnapExport *self)
{
  return self->description;
}

guint64
snap_export_image_size (SnapExport *self)
{
  return self->image->size;
}

guint64
snap_export_size (SnapExport *self)
{
  guint64 past = self->image->size % SNAP_EXPORT_BLOCK;

  return self->image->size + (past > 0 ? SNAP_EXPORT_BLOCK - past : 0);
}

gboolean
snap_export_is_range (SnapExport *self)
{
  return self->pair != NULL;
}

/* ---- data ---- */

static gboolean
check_range (SnapExport *self, guint64 offset, guint64 length, GError **error)
{
  guint64 size = snap_export_size (self);

  if (offset <= size && length <= size - offset)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         "%s: a request goes past the end", self->description);
}

/* How much of a range lies before the padding. */
static guint64
length_inside (SnapExport *self, guint64 offset, guint64 length)
{
  guint64 size = self->image->size;

  return offset < size ? MIN (length, size - offset) : 0;
}

gboolean
snap_export_read (SnapExport *self, guint64 offset, void *buffer, gsize length,
                  GError **error)
{
  gsize inside = length_inside (self, offset, length);

  if (!check_range (self, offset, length, error)
      || (inside > 0
          && !self->image->ops->read_at (self->image, offset, buffer, inside,
                                         error)))
    return FALSE;
  memset ((guint8 *) buffer + inside, 0, length - inside);
  return TRUE;
}

gboolean
snap_export_file_range (SnapExport *self, guint64 offset, guint64 length,
                        SnapFileRange *range)
{
  guint64 inside = length_inside (self, offset, length);

  return inside > 0 && snap_image_has_file_range (self->image)
         && self->image->ops->file_range (self->image, offset, inside, range)
         && range->length > 0 && range->length <= inside;
}

/* ---- allocation ---- */

/* Between an image and a consumer that counts on a gapless answer: whatever a
   driver leaves out is taken for data. */
typedef struct {
  SnapExtentFunc emit;
  gpointer user_data;
  guint64 at, end;
  gboolean stopped;
} Gapless;

static gboolean
emit_to (Gapless *self, guint64 end, guint32 flags, GError **error)
{
  SnapExtent extent = { self->at, end - self->at, flags };

  if (extent.length == 0)
    return TRUE;
  self->at = end;
  self->stopped = !self->emit (&extent, self->user_data, error);
  return !self->stopped;
}

static gboolean
emit_gapless (const SnapExtent *extent, gpointer gapless, GError **error)
{
  Gapless *self = gapless;
  guint64 start = CLAMP (extent->offset, self->at, self->end);
  guint64 end = CLAMP (extent->offset + extent->length, start, self->end);

  return emit_to (self, start, 0, error)
         && emit_to (self, end,
                     extent->flags & (SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO),
                     error);
}

/* The image's part of a range, then the padding up to @end. */
static gboolean
emit_range (SnapExport *self, Gapless *gapless, guint64 end, GError **error)
{
  guint64 inside = gapless->end - gapless->at;

  if (inside > 0
      && !self->image->ops->extents (self->image, gapless->at, inside,
                                     emit_gapless, gapless, error))
    return FALSE;
  return !gapless->stopped && emit_to (gapless, gapless->end, 0, error)
         && emit_to (gapless, end, SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO, error);
}

gboolean
snap_export_allocation (SnapExport *self, guint64 offset, guint64 length,
                        SnapExtentFunc emit, gpointer user_data, GError **error)
{
  guint64 inside = length_inside (self, offset, length);
  Gapless gapless = { emit, user_data, offset, offset + inside, FALSE };
  GError *reason = NULL;

  if (!check_range (self, offset, length, error))
    return FALSE;
  if (emit_range (self, &gapless, offset + length, &reason) || reason == NULL)
    return TRUE;
  g_propagate_error (error, reason);
  return FALSE;
}

const SnapExtents *
snap_export_dirty (SnapExport *self, GError **error)
{
  g_return_val_if_fail (self->pair != NULL, NULL);
  return snap_export_pair_dirty (self->pair, error);
}
