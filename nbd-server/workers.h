/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads of one connection that serve what would keep its reader
 * waiting.  They are started as they are needed, and few: a connection can
 * never take those of another.
 */
#ifndef NBD_SERVER_WORKERS_H
#define NBD_SERVER_WORKERS_H

#include <glib.h>

typedef struct _SnapNbdWorkers SnapNbdWorkers;

/* @serve takes over the job. */
typedef void (*SnapNbdServeFunc) (gpointer job, gpointer user_data);

/* Starts no thread yet. */
SnapNbdWorkers *snap_nbd_workers_new (guint max_threads, guint max_queued,
                                      SnapNbdServeFunc serve,
                                      gpointer user_data);

/* Finish what is queued, then end the threads. */
void snap_nbd_workers_free (SnapNbdWorkers *self);

/* Queue a job; waits while the queue is full. */
void snap_nbd_workers_push (SnapNbdWorkers *self, gpointer job);

/* Whether there is neither a job in work nor one that waits. */
gboolean snap_nbd_workers_are_idle (SnapNbdWorkers *self);

#endif
