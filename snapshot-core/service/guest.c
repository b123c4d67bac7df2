/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/guest.h"

#include "qmp/disks.h"
#include "qmp/guest.h"
#include "qmp/monitor.h"
#include "snapshot-core/os/path.h"
#include "snapshot-core/os/peer.h"
#include "snapshot-core/service/volume.h"

/* How long a guest that stands still is tried again and again by hand. */
#define RELEASE_MS 20000

struct _SnapGuest {
  char *monitor_path, *agent_path;
  QmpMonitor *monitor;
  QmpAgent *agent; /* NULL unless the guest is to be frozen */
  gboolean running;
  SnapQuiesce quiesce;
  GPtrArray *claimed; /* SnapVolume */
};

/* ---- errors ---- */

static SnapError
code_of (const GError *reason)
{
  if (g_error_matches (reason, QMP_ERROR, QMP_ERROR_BUSY))
    return SNAP_ERROR_BUSY;
  if (g_error_matches (reason, QMP_ERROR, QMP_ERROR_GONE))
    return SNAP_ERROR_NOT_FOUND;
  if (g_error_matches (reason, QMP_ERROR, QMP_ERROR_CANCELLED))
    return SNAP_ERROR_CANCELLED;
  return SNAP_ERROR_IO;
}

/* Make what QEMU or its agent said an error of ours; takes @reason. */
static gboolean
take_reason (const char *socket, GError *reason, GError **error)
{
  snap_error_set (error, code_of (reason), "%s: %s", socket, reason->message);
  g_error_free (reason);
  return FALSE;
}

/* ---- connecting ---- */

static gboolean
connect_monitor (SnapGuest *self, GError **error)
{
  GError *reason = NULL;

  self->monitor = qmp_monitor_ref (self->monitor_path, &reason);
  return self->monitor != NULL
         || take_reason (self->monitor_path, reason, error);
}

static gboolean
connect_agent (SnapGuest *self, GError **error)
{
  GError *reason = NULL;

  self->agent = qmp_agent_connect (self->agent_path, &reason);
  return self->agent != NULL || take_reason (self->agent_path, reason, error);
}

static gboolean
ask_state (SnapGuest *self, GError **error)
{
  g_autoptr (QmpGuest) guest =
      qmp_guest_new (qmp_monitor_client (self->monitor), NULL);
  GError *reason = NULL;
  QmpGuestState state;

  if (!guest->ops->state (guest, QMP_COMMAND_MS, &state, &reason))
    return take_reason (self->monitor_path, reason, error);
  self->running = state == QMP_GUEST_RUNNING;
  return TRUE;
}

/* The agent of a guest that stands still would not answer. */
static gboolean
settle_quiesce (SnapGuest *self, SnapQuiesce wanted, GError **error)
{
  self->quiesce = wanted;
  if (wanted != SNAP_QUIESCE_AGENT)
    return TRUE;
  if (self->agent_path == NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "%s: to be frozen by its agent, whose socket is not "
                           "named",
                           self->monitor_path);
  if (self->running)
    return connect_agent (self, error);
  self->quiesce = SNAP_QUIESCE_PAUSE;
  return TRUE;
}

static char *
absolute_or_null (const char *path)
{
  return path != NULL ? snap_path_absolute (path) : NULL;
}

SnapGuest *
snap_guest_open (const SnapGuestSpec *spec, GError **error)
{
  g_autoptr (SnapGuest) self = g_new0 (SnapGuest, 1);

  self->claimed =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_volume_unref);
  self->monitor_path = snap_path_absolute (spec->monitor);
  self->agent_path = absolute_or_null (spec->agent);
  if (!connect_monitor (self, error) || !ask_state (self, error)
      || !settle_quiesce (self, spec->quiesce, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
snap_guest_free (SnapGuest *self)
{
  if (self == NULL)
    return;
  g_clear_pointer (&self->agent, qmp_agent_close);
  g_clear_pointer (&self->monitor, qmp_monitor_unref);
  g_ptr_array_unref (self->claimed);
  g_free (self->monitor_path);
  g_free (self->agent_path);
  g_free (self);
}

const char *
snap_guest_monitor (const SnapGuest *self)
{
  return self->monitor_path;
}

const char *
snap_guest_agent (const SnapGuest *self)
{
  return self->agent != NULL ? self->agent_path : NULL;
}

SnapQuiesce
snap_guest_quiesce (const SnapGuest *self)
{
  return self->quiesce;
}

gboolean
snap_guest_stands_still (const SnapGuest *self)
{
  return !self->running || self->quiesce != SNAP_QUIESCE_NONE;
}

/* ---- disks ---- */

static void
guest_disk_free (SnapGuestDisk *disk)
{
  g_free (disk->device);
  snap_reference_free (disk->reference);
  g_free (disk);
}

static GPtrArray *
list_disks (SnapGuest *self, GError **error)
{
  GError *reason = NULL;
  GPtrArray *disks = qmp_disks_list (qmp_monitor_client (self->monitor),
                                     QMP_COMMAND_MS, &reason);

  if (disks == NULL)
    take_reason (self->monitor_path, reason, error);
  return disks;
}

/*
 * The driver whose volumes lie plainly on the storage at @path, or NULL.  One
 * that looks at the bytes of a file must not be asked: the guest wrote them.
 */
static const SnapDriver *
find_storage (SnapRegistry *registry, const char *path)
{
  const SnapDriver *best = NULL;
  int best_score = 0;

  for (gsize i = 0; i < snap_registry_n (registry); i++) {
    const SnapDriver *driver = snap_registry_at (registry, i);
    int score;

    if (!SNAP_DRIVER_HAS (driver, plain_path) || driver->plan == NULL)
      continue;
    score = driver->probe (path);
    if (score > best_score) {
      best = driver;
      best_score = score;
    }
  }
  return best;
}

static SnapReference *
new_reference (const SnapDriver *driver, const char *location, const char *part)
{
  SnapReference *reference = g_new0 (SnapReference, 1);

  reference->driver = driver;
  reference->location = g_strdup (location);
  reference->part = g_strdup (part);
  return reference;
}

/* As a volume of the storage below, or NULL. */
static SnapReference *
refer_to_storage (SnapGuest *self, SnapRegistry *registry, const QmpDisk *disk)
{
  int fd = qmp_client_fd (qmp_monitor_client (self->monitor));
  g_autofree char *path = NULL;
  const SnapDriver *driver;

  if (!g_str_equal (disk->format, "raw"))
    return NULL;
  path = snap_peer_find_file (fd, disk->filename, NULL);
  driver = path != NULL ? find_storage (registry, path) : NULL;
  return driver != NULL ? new_reference (driver, path, NULL) : NULL;
}

static gboolean
add_disk (SnapGuest *self, SnapRegistry *registry, const QmpDisk *disk,
          GPtrArray *chosen, GError **error)
{
  SnapGuestDisk *added;
  SnapReference *reference = refer_to_storage (self, registry, disk);
  const SnapDriver *qemu = snap_registry_lookup (registry, "qemu");

  if (reference == NULL && qemu != NULL)
    reference = new_reference (qemu, self->monitor_path, disk->device);
  if (reference == NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: %s: no driver can snapshot it",
                           self->monitor_path, disk->device);
  added = g_new0 (SnapGuestDisk, 1);
  added->device = g_strdup (disk->device);
  added->reference = reference;
  g_ptr_array_add (chosen, added);
  return TRUE;
}

/* A medium that cannot be written to is not part of what the guest is. */
static gboolean
add_all (SnapGuest *self, SnapRegistry *registry, GPtrArray *disks,
         GPtrArray *chosen, GError **error)
{
  for (guint i = 0; i < disks->len; i++) {
    const QmpDisk *disk = g_ptr_array_index (disks, i);

    if (!disk->read_only && !disk->removable
        && !add_disk (self, registry, disk, chosen, error))
      return FALSE;
  }
  return chosen->len > 0
         || snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                            "%s: has no disk that can be written to",
                            self->monitor_path);
}

static gboolean
add_named (SnapGuest *self, SnapRegistry *registry, GPtrArray *disks,
           const char *const *devices, GPtrArray *chosen, GError **error)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);

  for (gsize i = 0; devices[i] != NULL; i++) {
    QmpDisk *disk = qmp_disks_find (disks, devices[i]);

    if (disk == NULL)
      return snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                             "%s: %s: no such disk", self->monitor_path,
                             devices[i]);
    if (!g_hash_table_add (seen, disk))
      return snap_error_set (error, SNAP_ERROR_USAGE, "%s: %s: is named twice",
                             self->monitor_path, devices[i]);
    if (!add_disk (self, registry, disk, chosen, error))
      return FALSE;
  }
  return TRUE;
}

GPtrArray *
snap_guest_find_disks (SnapGuest *self, SnapRegistry *registry,
                       const char *const *devices, GError **error)
{
  g_autoptr (GPtrArray) disks = list_disks (self, error);
  g_autoptr (GPtrArray) chosen =
      g_ptr_array_new_with_free_func ((GDestroyNotify) guest_disk_free);

  if (disks == NULL)
    return NULL;
  if (devices != NULL
          ? !add_named (self, registry, disks, devices, chosen, error)
          : !add_all (self, registry, disks, chosen, error))
    return NULL;
  return g_steal_pointer (&chosen);
}

void
snap_guest_claim (SnapGuest *self, SnapVolume *volume)
{
  g_ptr_array_add (self->claimed, snap_volume_ref (volume));
}

char *
snap_volume_monitor (SnapVolume *volume)
{
  return SNAP_DRIVER_HAS (volume->driver, monitor)
             ? volume->driver->monitor (volume)
             : NULL;
}

gboolean
snap_guest_has (const SnapGuest *self, SnapVolume *volume)
{
  g_autofree char *monitor = snap_volume_monitor (volume);

  return g_strcmp0 (monitor, self->monitor_path) == 0
         || g_ptr_array_find (self->claimed, volume, NULL);
}

/* ---- the window ---- */

void
snap_guest_add_to_window (const SnapGuest *self, SnapWindow *window)
{
  snap_window_set_guest (window, self->quiesce, self->running);
}

SnapGuardGuest
snap_guest_connections (const SnapGuest *self)
{
  return (SnapGuardGuest){
    .qmp_fd = qmp_client_fd (qmp_monitor_client (self->monitor)),
    .agent_fd = self->agent != NULL ? qmp_agent_fd (self->agent) : -1,
  };
}

void
snap_guest_take_back (SnapGuest *self)
{
  qmp_client_resume (qmp_monitor_client (self->monitor));
  if (self->agent != NULL)
    qmp_agent_resume (self->agent);
}

/* ---- letting go ---- */

static QmpQuiet
quiet_of (SnapGuestTrouble what)
{
  return ((what & SNAP_GUEST_STOPPED) != 0 ? QMP_QUIET_STOPPED : 0)
         | ((what & SNAP_GUEST_FROZEN) != 0 ? QMP_QUIET_FROZEN : 0);
}

/* A socket of the agent's that is gone while QEMU lives proves nothing. */
static gboolean
release (SnapGuest *self, SnapGuestTrouble what, GError **error)
{
  g_autoptr (QmpGuest) guest = NULL;
  GError *reason = NULL;

  if ((what & SNAP_GUEST_FROZEN) != 0 && self->agent_path != NULL
      && !connect_agent (self, error))
    return FALSE;
  guest = qmp_guest_new (qmp_monitor_client (self->monitor), self->agent);
  return qmp_guest_release (guest, quiet_of (what), RELEASE_MS, &reason)
         || take_reason (self->monitor_path, reason, error);
}

gboolean
snap_guest_release (const char *monitor, const char *agent,
                    SnapGuestTrouble what, GError **error)
{
  g_autoptr (SnapGuest) self = g_new0 (SnapGuest, 1);
  g_autoptr (GError) reason = NULL;

  self->claimed = g_ptr_array_new ();
  self->monitor_path = snap_path_absolute (monitor);
  self->agent_path = absolute_or_null (agent);
  if (what == 0)
    return TRUE;
  if (!connect_monitor (self, &reason)
      && g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_NOT_FOUND))
    return TRUE;
  if (reason == NULL && release (self, what, &reason))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_FROZEN,
                         "%s; the guest may still stand still",
                         reason->message);
}
