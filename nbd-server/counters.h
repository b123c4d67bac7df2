/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a server has done since its start.  Each number is only ever added to,
 * by any thread.
 */
#ifndef NBD_SERVER_COUNTERS_H
#define NBD_SERVER_COUNTERS_H

#include <glib.h>

typedef struct {
  gint64 bytes_sent; /* of data */
  gint64 n_reads, n_statuses, n_caches;
  gint64 n_failures; /* requests that were answered with an error */
  gint64 n_secured;  /* connections that began TLS */
} SnapNbdCounters;

static inline void
snap_nbd_count (gint64 *counter, gint64 n)
{
  __atomic_fetch_add (counter, n, __ATOMIC_RELAXED);
}

static inline guint64
snap_nbd_counted (const gint64 *counter)
{
  return __atomic_load_n (counter, __ATOMIC_RELAXED);
}

#endif
