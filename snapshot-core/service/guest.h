/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The running guest that a set is cut under: its connections, its disks, and
 * how it is kept quiet.
 *
 * What is done to it while it is quiet is the guard's; this is what comes
 * before and after.
 */
#ifndef SNAP_SERVICE_GUEST_H
#define SNAP_SERVICE_GUEST_H

#include "snapshot-core/base/quiesce.h"
#include "snapshot-core/service/guard.h"
#include "snapshot-core/service/reference.h"

typedef struct {
  const char *monitor; /* path of its QMP socket, or what snap_relay_address()
                          makes of a domain of libvirt's */
  const char *agent;   /* path of its agent's, or the same, or NULL */
  SnapQuiesce quiesce; /* what is wanted */
} SnapGuestSpec;

typedef struct _SnapGuest SnapGuest;

/*
 * Connect to a guest.  Its monitor is ours until this is freed: it serves one
 * client at a time.  libvirt shares its own.
 *
 * Errors: BUSY (another client has the monitor), NOT_FOUND (nobody listens),
 * USAGE (AGENT is wanted and none is named), IO.
 */
SnapGuest *snap_guest_open (const SnapGuestSpec *spec, GError **error);
void snap_guest_free (SnapGuest *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapGuest, snap_guest_free)

/* Absolute; borrowed.  The agent's is NULL unless its guest will be frozen. */
const char *snap_guest_monitor (const SnapGuest *self);
const char *snap_guest_agent (const SnapGuest *self);

/* How the guest will be kept quiet: what was wanted or, where it stood still
   before we came, PAUSE at most. */
SnapQuiesce snap_guest_quiesce (const SnapGuest *self);

/* Whether all of its disks stand still during the window. */
gboolean snap_guest_stands_still (const SnapGuest *self);

/* ---- its disks ---- */

typedef struct {
  char *device; /* what QEMU calls it */
  SnapReference *reference;
} SnapGuestDisk;

/*
 * Find the volumes of the guest's disks: of @devices (NULL-terminated) or,
 * where that is NULL, of all that can be written to.  A raw disk is a volume
 * of the storage that its file or device lies on, if there is a driver for
 * that; every other disk is one of the driver "qemu".  Elements SnapGuestDisk,
 * freed by the array.
 *
 * What a guest has written to a raw disk is never looked at.
 *
 * Errors: NOT_FOUND (no such device, or no disk at all), USAGE (a device
 * twice), IO.
 */
GPtrArray *snap_guest_find_disks (SnapGuest *self, SnapRegistry *registry,
                                  const char *const *devices, GError **error);

/* Say that only the guest writes to @volume, which it keeps a reference of:
   quiet, it is at one instant with the others. */
void snap_guest_claim (SnapGuest *self, SnapVolume *volume);

/* Whether it was claimed, or is the guest's by its driver's word. */
gboolean snap_guest_has (const SnapGuest *self, SnapVolume *volume);

/* ---- the window ---- */

/* Add what is to be done to the guest. */
void snap_guest_add_to_window (const SnapGuest *self, SnapWindow *window);

/* What the guard is handed; the descriptors are borrowed.  While it has them
   nothing else may be said to the guest. */
SnapGuardGuest snap_guest_connections (const SnapGuest *self);

/* Add descriptors that the guard is to keep open besides. */
void snap_guest_add_kept (const SnapGuest *self, GArray *fds);

/*
 * Nobody could let the guest go through the connections that there are: try
 * anew, where that is possible.  They are closed then.
 */
gboolean snap_guest_rescue (SnapGuest *self);

/* The guard has ended: go on from wherever it was in the conversation. */
void snap_guest_take_back (SnapGuest *self);

/* ---- after a crash, and by hand ---- */

/*
 * See to it that a guest runs and is thawed, as far as @what says that it was
 * stopped or frozen.  Idempotent.  A guest that is gone needs nothing.
 *
 * Errors: FROZEN, with what stood in the way.
 */
gboolean snap_guest_release (const char *monitor, const char *agent,
                             SnapGuestTrouble what, GError **error);

/* The path of the QMP socket of the guest whose disk @volume is, or NULL; the
   caller frees. */
char *snap_volume_monitor (SnapVolume *volume);

#endif
