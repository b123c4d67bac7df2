/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/guest.h"

#include "qmp/disks.h"
#include "qmp/guest.h"
#include "qmp/monitor.h"
#include "snapshot-core/os/path.h"
#include "snapshot-core/os/peer.h"
#include "snapshot-core/service/relay.h"
#include "snapshot-core/service/volume.h"

/* How long a guest that stands still is tried again and again by hand. */
#define RELEASE_MS 20000

struct _SnapGuest {
  char *monitor_path, *agent_path;
  QmpMonitor *monitor; /* of the socket, */
  SnapRelay *relay;    /* or to libvirt */
  QmpClient *client;   /* borrowed from the first, or owned */
  QmpAgent *agent;     /* NULL unless the guest is to be frozen */
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
connect_relay (SnapGuest *self, GError **error)
{
  GError *reason = NULL;

  self->relay = snap_relay_start (self->monitor_path, error);
  if (self->relay == NULL) {
    g_prefix_error (error, "%s: ", self->monitor_path);
    return FALSE;
  }
  self->client = qmp_client_take (snap_relay_take_monitor (self->relay),
                                  QMP_COMMAND_MS, NULL, &reason);
  return self->client != NULL
         || take_reason (self->monitor_path, reason, error);
}

static gboolean
connect_monitor (SnapGuest *self, GError **error)
{
  GError *reason = NULL;

  if (snap_relay_is_address (self->monitor_path))
    return connect_relay (self, error);
  self->monitor = qmp_monitor_ref (self->monitor_path, &reason);
  if (self->monitor == NULL)
    return take_reason (self->monitor_path, reason, error);
  self->client = qmp_monitor_client (self->monitor);
  return TRUE;
}

static gboolean
connect_agent (SnapGuest *self, GError **error)
{
  GError *reason = NULL;

  if (self->relay != NULL)
    self->agent = qmp_agent_adopt (snap_relay_take_agent (self->relay));
  else
    self->agent = qmp_agent_connect (self->agent_path, &reason);
  return self->agent != NULL || take_reason (self->agent_path, reason, error);
}

static gboolean
ask_state (SnapGuest *self, GError **error)
{
  g_autoptr (QmpGuest) guest = qmp_guest_new (self->client, NULL);
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
  if (path == NULL || snap_relay_is_address (path))
    return g_strdup (path);
  return snap_path_absolute (path);
}

/* The relay last: it ends when nobody speaks to it. */
static void
disconnect (SnapGuest *self)
{
  g_clear_pointer (&self->agent, qmp_agent_close);
  if (self->relay != NULL)
    g_clear_pointer (&self->client, qmp_client_close);
  self->client = NULL;
  g_clear_pointer (&self->relay, snap_relay_free);
  g_clear_pointer (&self->monitor, qmp_monitor_unref);
}

SnapGuest *
snap_guest_open (const SnapGuestSpec *spec, GError **error)
{
  g_autoptr (SnapGuest) self = g_new0 (SnapGuest, 1);

  self->claimed =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_volume_unref);
  self->monitor_path = absolute_or_null (spec->monitor);
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
  disconnect (self);
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
  GPtrArray *disks = qmp_disks_list (self->client, QMP_COMMAND_MS, &reason);

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

/* NULL if QEMU has no such file open that is one here. */
static char *
find_file (SnapGuest *self, const char *filename)
{
  return self->relay != NULL
             ? snap_process_find_file (snap_relay_qemu_pid (self->relay),
                                       filename, NULL)
             : snap_peer_find_file (qmp_client_fd (self->client), filename,
                                    NULL);
}

/* As a volume of the storage below, or NULL. */
static SnapReference *
refer_to_storage (SnapGuest *self, SnapRegistry *registry, const QmpDisk *disk)
{
  g_autofree char *path = NULL;
  const SnapDriver *driver;

  if (!g_str_equal (disk->format, "raw"))
    return NULL;
  path = find_file (self, disk->filename);
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

  if (reference == NULL && self->relay != NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: %s: only QEMU could cut it, which is not done "
                           "through libvirt (--disk names others)",
                           self->monitor_path, disk->device);
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
    .qmp_fd = qmp_client_fd (self->client),
    .agent_fd = self->agent != NULL ? qmp_agent_fd (self->agent) : -1,
  };
}

void
snap_guest_add_kept (const SnapGuest *self, GArray *fds)
{
  if (self->relay != NULL)
    snap_relay_add_far_ends (self->relay, fds);
}

void
snap_guest_take_back (SnapGuest *self)
{
  if (self->client != NULL)
    qmp_client_resume (self->client);
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
  guest = qmp_guest_new (self->client, self->agent);
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
  self->monitor_path = absolute_or_null (monitor);
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

/* A relay that hangs lets the guest go by itself when we close, and is waited
   for; one that was killed has left that to us. */
gboolean
snap_guest_rescue (SnapGuest *self)
{
  SnapGuestTrouble what =
      SNAP_GUEST_STOPPED | (self->agent != NULL ? SNAP_GUEST_FROZEN : 0);

  if (self->relay == NULL || !self->running)
    return FALSE;
  disconnect (self);
  return snap_guest_release (self->monitor_path, self->agent_path, what, NULL);
}
