/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deadlines: a moment of the monotonic clock, and how long poll() may sleep
 * until then.
 */
#ifndef SNAP_OS_DEADLINE_H
#define SNAP_OS_DEADLINE_H

#include <glib.h>

typedef gint64 SnapDeadline; /* microseconds, g_get_monotonic_time() */

static inline SnapDeadline
snap_deadline_in (guint timeout_ms)
{
  return g_get_monotonic_time () + (gint64) timeout_ms * 1000;
}

/* Milliseconds that are left, rounded up; 0 when it has passed. */
static inline int
snap_deadline_left_ms (SnapDeadline deadline)
{
  gint64 left_us = deadline - g_get_monotonic_time ();

  return (int) CLAMP ((left_us + 999) / 1000, 0, G_MAXINT);
}

#endif
