/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/acknowledge.h"

#include "snapshot-core/service/catalogue.h"
#include "snapshot-core/service/hold.h"
#include "snapshot-core/service/volume.h"

/* The point that was cut in the set, or NULL: it is gone. */
static SnapPoint *
find_point (GPtrArray *points, const char *set_id)
{
  for (guint i = 0; i < points->len; i++) {
    SnapPoint *point = g_ptr_array_index (points, i);

    if (point->ours && g_strcmp0 (point->set_id, set_id) == 0)
      return point;
  }
  return NULL;
}

static gboolean
tell (SnapState *state, SnapVolume *volume, const char *set_id, SnapAck ack,
      GError **error)
{
  g_autoptr (SnapHold) alone = snap_hold_take_volume (state, volume, error);
  g_autoptr (GPtrArray) points =
      alone != NULL ? snap_volume_list (volume, state, error) : NULL;
  g_autoptr (SnapHold) hold = NULL;
  SnapPoint *point;

  if (points == NULL)
    return FALSE;
  point = find_point (points, set_id);
  if (point == NULL)
    return TRUE;
  hold = snap_hold_take (state, volume, point, SNAP_HOLD_DELETE, error);
  return hold != NULL
         && volume->driver->acknowledge (volume, point, ack == SNAP_ACK_FAILED,
                                         error);
}

static gboolean
tell_member (SnapState *state, SnapRegistry *registry,
             const SnapReference *member, const char *set_id, SnapAck ack,
             guint *n_told, GError **error)
{
  const SnapOpenOptions options = { .mode = SNAP_OPEN_MANAGE };
  g_autoptr (SnapVolume) volume = NULL;

  if (!SNAP_DRIVER_HAS (member->driver, acknowledge))
    return TRUE;
  volume = snap_volume_open (registry, member, &options, error);
  if (volume == NULL || !tell (state, volume, set_id, ack, error))
    return FALSE;
  *n_told += 1;
  return TRUE;
}

gboolean
snap_set_acknowledge (SnapState *state, SnapRegistry *registry,
                      const char *name, SnapAck ack, guint *n_told,
                      GError **error)
{
  g_autofree char *set_id = snap_catalogue_find_set (state, name, error);
  g_autoptr (GPtrArray) members = NULL;
  GError *first = NULL;

  *n_told = 0;
  if (set_id == NULL)
    return FALSE;
  members = snap_catalogue_read_members (state, registry, set_id, error);
  if (members == NULL)
    return FALSE;
  for (guint i = 0; i < members->len; i++)
    tell_member (state, registry, g_ptr_array_index (members, i), set_id, ack,
                 n_told, first == NULL ? &first : NULL);
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, first);
  return FALSE;
}
