/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the guard, the process that answers for a guest that it freezes
 * and stops, and for every device it suspends.
 *
 *   main.c    what is done before anything stands still
 *   owner.c   its words to its owner and back
 *   guest.c   what is done to the guest, and undone
 *   work.c    the window itself, in a process of its own
 *   watch.c   the process that ends the window if the other one does not
 *
 * Two processes, because an ioctl that hangs takes its process with it: the
 * one that watches makes no call that can hang before it has to.  Either can
 * be killed, and the other one resumes.
 *
 * They share the connections to the guest, which can be used by one at a time:
 * the one that works has them, and the other one takes them up when that one
 * is dead.  What there is to undo then stands in the notes.
 *
 * While anything stands still, nothing here may wait for storage: all memory
 * is locked, nothing is opened, executed or logged.
 */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include <sys/types.h>

#include "guard/protocol.h"
#include "snapshot-core/base/window.h"
#include "snapshot-core/os/deadline.h"

/* What there is to do. */
typedef struct {
  const SnapWindow *window;
  GPtrArray *commands; /* GuardCommand: those of the window */
  GuardNotes *notes;
} GuardTask;

typedef struct {
  guint64 window_us, stopped_us, frozen_us;
} GuardTimes;

/* Lock all memory, now and later.  Not inherited by fork(). */
gboolean guard_lock_memory (const SnapWindow *window, GError **error);

/* ---- owner.c ---- */

#define GUARD_MAX_WORD 8

typedef enum {
  GUARD_HEARD_WORD,
  GUARD_HEARD_NOTHING, /* until the deadline */
  GUARD_HEARD_END,     /* he is gone, or the other half of us */
} GuardHeard;

/* Write one line to the owner, who may be gone. */
void guard_say (const char *format, ...) G_GNUC_PRINTF (1, 2);

/* Await one of the owner's words for as long as @other_fd, if it is one, does
   not hang up. */
GuardHeard guard_hear (char word[GUARD_MAX_WORD], SnapDeadline deadline,
                       int other_fd);

/* ---- guest.c ---- */

typedef struct _GuardCommand GuardCommand;

/* Understand the commands of a window; elements GuardCommand, freed by the
   array.  Errors: CORRUPT. */
GPtrArray *guard_commands_parse (const SnapWindow *window, GError **error);

typedef struct _GuardGuest GuardGuest;

/* Take up the connections to the guest, of which copies are made. */
GuardGuest *guard_guest_open (const GuardTask *task);
void guard_guest_close (GuardGuest *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GuardGuest, guard_guest_close)

/* See that it is what the window takes it for, that its agent answers, and
   that nobody else has frozen it.  Changes nothing. */
gboolean guard_guest_check (GuardGuest *self, GError **error);

/* Freeze and stop it, as the window says. */
gboolean guard_guest_quiet (GuardGuest *self, SnapDeadline deadline,
                            GError **error);

/* Execute the commands of the window. */
gboolean guard_guest_execute (GuardGuest *self, SnapDeadline deadline,
                              GError **error);

/* See that nobody else has let it go meanwhile. */
gboolean guard_guest_check_still (GuardGuest *self, SnapDeadline deadline,
                                  GError **error);

/* Continue and thaw it if the notes say so, and see that it went. */
gboolean guard_guest_let_go (GuardGuest *self, SnapDeadline deadline,
                             GuardTimes *times, GError **error);

/* ---- work.c, watch.c ---- */

typedef struct {
  const GuardTask *task;
  pid_t watcher;
  int watcher_fd;        /* hangs up when he is gone */
  SnapDeadline give_up;  /* when to stop waiting and begin to undo */
  SnapDeadline deadline; /* when the watcher does it */
} GuardWorker;

/*
 * Carry out the window: quiet, cut, suspend, send, resume, let go.  Undoes
 * whatever it did to the guest and the devices before it returns, also when
 * it fails or when the watcher is no longer there.
 */
gboolean guard_work (const GuardWorker *self, GuardTimes *times,
                     GError **error);

/*
 * Fork the worker, wait for it, and see to it that all runs again by the
 * deadline, or as soon as the owner is gone.  Answers the owner.
 */
void guard_watch (const GuardTask *task, guint deadline_ms);

#endif
