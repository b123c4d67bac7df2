/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor of a socket, shared by all of this process: it serves one client
 * only.  The connection lasts as long as somebody has a reference.
 *
 * Threads: any, everywhere; who uses the client holds the lock meanwhile.
 */
#ifndef QMP_MONITOR_H
#define QMP_MONITOR_H

#include "qmp/client.h"

typedef struct _QmpMonitor QmpMonitor;

/*
 * Connect to the monitor at @path, unless somebody here is connected already.
 * One whose peer is gone is not given out again.  Errors: as
 * qmp_client_connect().
 */
QmpMonitor *qmp_monitor_ref (const char *path, GError **error);
void qmp_monitor_unref (QmpMonitor *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpMonitor, qmp_monitor_unref)

/* Be the one who uses the client; again and again in one thread. */
void qmp_monitor_lock (QmpMonitor *self);
void qmp_monitor_unlock (QmpMonitor *self);

/* Borrowed, as long as the reference lasts. */
QmpClient *qmp_monitor_client (QmpMonitor *self);

#endif
