/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device-mapper devices by name: state, table, target messages, suspend.
 *
 * The one door to libdevmapper.  Needs root.  Nothing here waits for udev or
 * makes device nodes.
 *
 * Threads: the library has state of its own, so that one call at a time is
 * made; a suspend that waits for I/O keeps the others waiting.
 *
 * Errors: NOT_FOUND (no such device), BUSY (the kernel says so), UNSUPPORTED
 * (no device mapper here, or not allowed), IO.
 */
#ifndef SNAP_OS_DEVICE_MAPPER_H
#define SNAP_OS_DEVICE_MAPPER_H

#include <glib.h>

/* Load the library now rather than with the first call: while a device stands
   still, it might not be readable.  If it cannot be had, that call says so. */
void snap_dm_load (void);

/*
 * Open the control device and keep it open, so that later calls open nothing.
 * Without it the first call does that.
 */
gboolean snap_dm_open (GError **error);

typedef struct {
  gboolean exists;
  gboolean suspended;
  guint open_count;
} SnapDmInfo;

/* A device that is not there is no error. */
gboolean snap_dm_info (const char *name, SnapDmInfo *info, GError **error);

/*
 * The first target of a device as "TYPE PARAMETERS", in its status or its
 * live table; the caller frees.
 */
char *snap_dm_status (const char *name, GError **error);
char *snap_dm_table (const char *name, GError **error);

/* Send a message to the target at sector 0. */
gboolean snap_dm_message (const char *name, const char *text, GError **error);

/*
 * Suspend: all I/O that was submitted is done, a file system on the device is
 * frozen, new I/O waits.  Whoever calls this answers for the resume.
 */
gboolean snap_dm_suspend (const char *name, GError **error);

/* Resume; a device that is not suspended stays as it is. */
gboolean snap_dm_resume (const char *name, GError **error);

#endif
