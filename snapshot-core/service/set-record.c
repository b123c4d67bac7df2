/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/set-record.h"

#include "snapshot-core/os/path.h"

/* Recovery may run in another working directory.  NULL stays NULL. */
static char *
absolute_location (const char *location)
{
  if (location != NULL && g_file_test (location, G_FILE_TEST_EXISTS))
    return snap_path_absolute (location);
  return g_strdup (location);
}

SnapManifestMember *
snap_set_record_add (SnapManifest *document, const SnapVolume *volume)
{
  g_autofree char *location = absolute_location (volume->location);
  SnapManifestMember *member =
      snap_manifest_add (document, volume->driver->name, location);

  member->part = g_strdup (volume->part);
  member->volume_id = g_strdup (volume->id);
  return member;
}

void
snap_set_record_add_point (SnapManifest *document, const SnapVolume *volume,
                           const SnapPoint *point)
{
  SnapManifestMember *member = snap_set_record_add (document, volume);

  member->point = g_strdup (point->name);
  member->point_id = g_strdup (point->id);
  member->handle = g_strdup (point->handle);
  member->point_set = g_strdup (point->set_id);
  member->secret_file = absolute_location (volume->options->secret_file);
  member->snapshot_dir = g_strdup (volume->options->snapshot_dir);
}

static gboolean
is_same_volume (const SnapManifestMember *a, const SnapManifestMember *b)
{
  return g_str_equal (a->driver, b->driver)
         && g_str_equal (a->location, b->location)
         && g_strcmp0 (a->part, b->part) == 0;
}

/* A SnapManifestEditor. */
static SnapManifestEdit
take_volume_off (const char *text, gpointer deleted, char **edited)
{
  g_autoptr (SnapManifest) manifest =
      snap_manifest_parse (text, "manifest", NULL);

  if (manifest == NULL)
    return SNAP_MANIFEST_KEEP;
  for (guint i = manifest->members->len; i-- > 0;)
    if (is_same_volume (g_ptr_array_index (manifest->members, i), deleted))
      g_ptr_array_remove_index (manifest->members, i);
  if (manifest->members->len == 0)
    return SNAP_MANIFEST_REMOVE;
  *edited = snap_manifest_format (manifest);
  return SNAP_MANIFEST_REPLACE;
}

gboolean
snap_set_record_forget (SnapState *state, SnapManifestMember *deleted,
                        GError **error)
{
  return deleted->point_set == NULL
         || snap_manifest_edit (state, deleted->point_set, take_volume_off,
                                deleted, error);
}

SnapPoint *
snap_set_record_find (const GPtrArray *points, const char *id)
{
  for (guint i = 0; i < points->len; i++) {
    SnapPoint *point = g_ptr_array_index (points, i);

    if (g_str_equal (point->id, id))
      return point;
  }
  return NULL;
}

void
snap_set_record_make_partial (GError *reason)
{
  g_autofree char *message = reason->message;

  /* That something stands still is worse, and stays the code. */
  if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_FROZEN))
    reason->code = SNAP_ERROR_PARTIAL;
  reason->domain = SNAP_ERROR;
  reason->message =
      g_strconcat (message, "; the journal holds what is left to do", NULL);
}
