/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the guard, the process that answers for every device it
 * suspends.
 *
 *   main.c   what is done before anything stands still
 *   work.c   the window itself, in a process of its own
 *   watch.c  the process that ends the window if the other one does not
 *
 * Two processes, because an ioctl that hangs takes its process with it: the
 * one that watches makes no call that can hang before it has to.  Either can
 * be killed, and the other one resumes.
 *
 * While a device is suspended, nothing here may wait for storage: all memory
 * is locked, nothing is opened, executed or logged.
 */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include <sys/types.h>

#include "snapshot-core/base/window.h"
#include "snapshot-core/os/deadline.h"

/* Lock all memory, now and later.  Not inherited by fork(). */
gboolean guard_lock_memory (GError **error);

/*
 * Carry out the window: suspend, send, resume.  Resumes whatever it suspended
 * before it returns, also when it fails or when @watcher is no longer its
 * parent.
 */
gboolean guard_work (const SnapWindow *window, pid_t watcher,
                     guint64 *window_us, GError **error);

/*
 * Fork the worker, wait for it, and see to it that all devices run again by
 * the deadline, or as soon as the owner is gone.  Answers the owner.
 */
void guard_watch (const SnapWindow *window, guint deadline_ms);

/* Write one line to the owner, who may be gone. */
void guard_say (const char *format, ...) G_GNUC_PRINTF (1, 2);

#endif
