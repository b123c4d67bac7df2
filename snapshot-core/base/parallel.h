/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs of one kind, done by several threads at once.
 */
#ifndef SNAP_BASE_PARALLEL_H
#define SNAP_BASE_PARALLEL_H

#include <glib.h>

/* Do job @index of several; called from any thread. */
typedef gboolean (*SnapJobFunc) (guint index, gpointer user_data,
                                 GError **error);

/*
 * Do the jobs 0 to @n_jobs - 1, each once, by at most @n_threads threads of
 * which the caller is one.  They are begun in order, and when one fails, no
 * more is begun.  Returns when all that were begun are done; the error is that
 * of the first, by number, that failed.
 */
gboolean snap_parallel_run (guint n_threads, guint n_jobs, SnapJobFunc func,
                            gpointer user_data, GError **error);

#endif
