/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/hold.h"

#include <string.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"

/* Stands where a point's identity would; no identity begins like this. */
#define WHOLE_VOLUME "\001volume"

struct _SnapHold {
  char *path; /* NULL: there is nothing to hold */
  int fd;
};

/* Each string with its NUL, so that no two identities run together. */
static char *
digest (const SnapVolume *volume, const char *point_id)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  const char *const parts[] = { volume->driver->name, volume->id, point_id };

  for (gsize i = 0; i < G_N_ELEMENTS (parts); i++)
    g_checksum_update (sum, (const guchar *) parts[i], strlen (parts[i]) + 1);
  return g_strdup (g_checksum_get_string (sum));
}

static char *
build_path (SnapState *state, const SnapVolume *volume, const char *point_id)
{
  g_autofree char *name = digest (volume, point_id);

  return g_build_filename (snap_state_directory (state), "holds", name, NULL);
}

static SnapHold *
take (SnapState *state, const SnapVolume *volume, const char *point_id,
      SnapLockMode mode, GError **error)
{
  g_autoptr (SnapHold) self = g_new0 (SnapHold, 1);

  self->fd = -1;
  if (!snap_state_create (state, error))
    return NULL;
  self->path = build_path (state, volume, point_id);
  self->fd = snap_lock_file_take (self->path, mode, error);
  return self->fd >= 0 ? g_steal_pointer (&self) : NULL;
}

/* Say BUSY in terms of what is held, not of a lock file. */
static gboolean
explain_busy (GError **error, GError *reason, const char *object,
              const char *fact)
{
  if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)) {
    g_propagate_error (error, reason);
    return FALSE;
  }
  g_error_free (reason);
  return snap_error_set (error, SNAP_ERROR_BUSY, "%s: %s", object, fact);
}

SnapHold *
snap_hold_take (SnapState *state, const SnapVolume *volume,
                const SnapPoint *point, SnapHoldMode mode, GError **error)
{
  GError *reason = NULL;
  g_autofree char *object = NULL;
  SnapHold *self;

  if (point->kind == SNAP_POINT_EMPTY) {
    self = g_new0 (SnapHold, 1);
    self->fd = -1;
    return self;
  }
  self = take (state, volume, point->id,
               mode == SNAP_HOLD_USE ? SNAP_LOCK_SHARED : SNAP_LOCK_EXCLUSIVE,
               &reason);
  if (self == NULL) {
    object = g_strdup_printf ("%s@%s", volume->location, point->name);
    explain_busy (error, reason, object,
                  "held by a diff or an export that is running");
  }
  return self;
}

gboolean
snap_hold_probe (SnapState *state, const SnapVolume *volume,
                 const SnapPoint *point, gboolean *held, GError **error)
{
  g_autofree char *path = NULL;

  *held = FALSE;
  if (point->kind == SNAP_POINT_EMPTY)
    return TRUE;
  path = build_path (state, volume, point->id);
  return snap_lock_file_probe (path, SNAP_LOCK_EXCLUSIVE, held, error);
}

SnapHold *
snap_hold_take_volume (SnapState *state, const SnapVolume *volume,
                       GError **error)
{
  GError *reason = NULL;
  SnapHold *self =
      take (state, volume, WHOLE_VOLUME, SNAP_LOCK_EXCLUSIVE, &reason);

  if (self == NULL)
    explain_busy (error, reason, volume->location,
                  "somebody is creating or deleting a snapshot of it");
  return self;
}

void
snap_holds_sweep (SnapState *state)
{
  g_autofree char *holds =
      g_build_filename (snap_state_directory (state), "holds", NULL);
  g_autoptr (GDir) dir = g_dir_open (holds, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (holds, name, NULL);

    snap_lock_file_sweep (path);
  }
}

int
snap_hold_lock_fd (const SnapHold *self)
{
  return self->fd;
}

void
snap_hold_release (SnapHold *self)
{
  if (self == NULL)
    return;

  if (self->fd >= 0)
    snap_lock_file_remove (self->path, self->fd);
  snap_fd_clear (&self->fd);
  g_free (self->path);
  g_free (self);
}
