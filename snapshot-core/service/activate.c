/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/activate.h"

#include "snapshot-core/service/hold.h"

char *
snap_point_path (SnapVolume *volume, const SnapPoint *point)
{
  if (!SNAP_DRIVER_HAS (volume->driver, plain_path))
    return NULL;
  return volume->driver->plain_path (volume, point);
}

static void
set_nowhere (const SnapVolume *volume, const SnapPoint *point, GError **error)
{
  snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                  "%s@%s: its bytes lie in no file or device as they are; it "
                  "can be served",
                  volume->location, point->name);
}

char *
snap_point_activate (SnapState *state, SnapVolume *volume,
                     const SnapPoint *point, GError **error)
{
  g_autoptr (SnapHold) hold =
      snap_hold_take (state, volume, point, SNAP_HOLD_USE, error);
  char *path;

  if (hold == NULL)
    return NULL;
  if (SNAP_DRIVER_HAS (volume->driver, activate))
    return volume->driver->activate (volume, point, error);
  path = snap_point_path (volume, point);
  if (path == NULL)
    set_nowhere (volume, point, error);
  return path;
}

gboolean
snap_point_deactivate (SnapState *state, SnapVolume *volume,
                       const SnapPoint *point, GError **error)
{
  g_autoptr (SnapHold) hold =
      snap_hold_take (state, volume, point, SNAP_HOLD_USE, error);
  g_autofree char *path = NULL;

  if (hold == NULL)
    return FALSE;
  if (SNAP_DRIVER_HAS (volume->driver, deactivate))
    return volume->driver->deactivate (volume, point, error);
  path = snap_point_path (volume, point);
  if (path == NULL)
    set_nowhere (volume, point, error);
  return path != NULL;
}
