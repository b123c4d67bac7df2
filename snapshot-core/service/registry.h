/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The drivers there are: built in, and modules from $NBDSNAP_DRIVER_PATH or
 * the library directory.  The one place that sees GModule.
 */
#ifndef SNAP_SERVICE_REGISTRY_H
#define SNAP_SERVICE_REGISTRY_H

#include "snapshot-core/drivers/driver.h"

typedef struct _SnapRegistry SnapRegistry;

/*
 * Collect the built-in drivers and load the modules
 * "nbdsnap-NAME-driver.so".  A module that cannot be used is left out; why is
 * kept for snap_registry_complaints().
 */
SnapRegistry *snap_registry_new (void);
void snap_registry_free (SnapRegistry *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapRegistry, snap_registry_free)

/* Add a driver that the caller keeps alive.  Errors: UNSUPPORTED (another
   ABI, or a required op is missing), EXISTS (the name). */
gboolean snap_registry_add (SnapRegistry *self, const SnapDriver *driver,
                            GError **error);

/* Borrowed, or NULL. */
const SnapDriver *snap_registry_lookup (SnapRegistry *self, const char *name);

/* The driver that knows @location best.  NOT_FOUND, with whether the file
   exists, if none does. */
const SnapDriver *snap_registry_probe (SnapRegistry *self, const char *location,
                                       GError **error);

gsize snap_registry_n (SnapRegistry *self);
const SnapDriver *snap_registry_at (SnapRegistry *self, gsize index);

/* NULL-terminated, one line a module that was left out; borrowed. */
const char *const *snap_registry_complaints (SnapRegistry *self);

/* Capabilities of a driver, derived from its ops: "create", "delete",
   "diff", "read", …  NULL-terminated, static strings; free the array. */
const char **snap_driver_capabilities (const SnapDriver *driver);

#endif
