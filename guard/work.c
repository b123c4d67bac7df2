/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <unistd.h>

#include "guard/guard.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/device-mapper.h"

/* Nobody would undo what we do if we were killed next. */
static gboolean
check_watcher (const GuardWorker *self, GError **error)
{
  if (getppid () == self->watcher)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_FAILED,
                         "guard: half of it was killed");
}

/* ---- devices ---- */

static gboolean
suspend_all (const GuardWorker *self, guint *n_suspended, GError **error)
{
  const GPtrArray *devices = self->task->window->devices;

  for (guint i = 0; i < devices->len; i++) {
    if (!check_watcher (self, error)
        || !snap_dm_suspend (devices->pdata[i], error))
      return FALSE;
    *n_suspended = i + 1;
  }
  return TRUE;
}

static gboolean
send_all (const GuardWorker *self, GError **error)
{
  const GPtrArray *messages = self->task->window->messages;

  for (guint i = 0; i < messages->len; i++) {
    const SnapWindowMessage *message = messages->pdata[i];

    if (!check_watcher (self, error)
        || !snap_dm_message (message->device, message->text, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
resume_all (const GuardWorker *self, guint n_suspended, GError **error)
{
  const GPtrArray *devices = self->task->window->devices;
  gboolean all = TRUE;

  for (guint i = 0; i < n_suspended; i++)
    all = snap_dm_resume (devices->pdata[i], all ? error : NULL) && all;
  return all;
}

/* Suspend, send, resume: what happens while devices stand still. */
static gboolean
cut_devices (const GuardWorker *self, GError **error)
{
  guint n_suspended = 0;
  gboolean sent =
      suspend_all (self, &n_suspended, error) && send_all (self, error);

  return resume_all (self, n_suspended, sent ? error : NULL) && sent;
}

/* ---- a guest ---- */

/* The owner's turn. */
static gboolean
await_cut (const GuardWorker *self, GError **error)
{
  char word[GUARD_MAX_WORD];

  guard_say (GUARD_QUIET);
  switch (guard_hear (word, self->give_up, self->watcher_fd)) {
  case GUARD_HEARD_WORD:
    return g_str_equal (word, GUARD_CUT)
           || snap_error_set (error, SNAP_ERROR_CANCELLED, "guard: undone");
  case GUARD_HEARD_NOTHING:
    return snap_error_set (error, SNAP_ERROR_FAILED,
                           "guard: the cut was not made by the deadline");
  default:
    return snap_error_set (error, SNAP_ERROR_FAILED,
                           "guard: its owner or half of it was killed");
  }
}

static gboolean
cut_all (const GuardWorker *self, GuardGuest *guest, GError **error)
{
  return check_watcher (self, error)
         && guard_guest_quiet (guest, self->give_up, error)
         && await_cut (self, error) && check_watcher (self, error)
         && guard_guest_execute (guest, self->give_up, error)
         && cut_devices (self, error)
         && guard_guest_check_still (guest, self->give_up, error);
}

static gboolean
work_with_guest (const GuardWorker *self, GuardTimes *times, GError **error)
{
  g_autoptr (GuardGuest) guest = guard_guest_open (self->task);
  gboolean cut = cut_all (self, guest, error);

  return guard_guest_let_go (guest, self->deadline, times, cut ? error : NULL)
         && cut;
}

gboolean
guard_work (const GuardWorker *self, GuardTimes *times, GError **error)
{
  gint64 start_us = g_get_monotonic_time ();
  gboolean done = self->task->window->has_guest
                      ? work_with_guest (self, times, error)
                      : cut_devices (self, error);

  times->window_us = (guint64) (g_get_monotonic_time () - start_us);
  return done;
}
