/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "guard/guard.h"

#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/device-mapper.h"

/* Nobody would resume what we suspend if we were killed next. */
static gboolean
check_watcher (pid_t watcher, GError **error)
{
  if (getppid () == watcher)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_FAILED,
                         "guard: half of it was killed");
}

static gboolean
suspend_all (const SnapWindow *window, pid_t watcher, guint *n_suspended,
             GError **error)
{
  for (guint i = 0; i < window->devices->len; i++) {
    if (!check_watcher (watcher, error)
        || !snap_dm_suspend (window->devices->pdata[i], error))
      return FALSE;
    *n_suspended = i + 1;
  }
  return TRUE;
}

static gboolean
send_all (const SnapWindow *window, pid_t watcher, GError **error)
{
  for (guint i = 0; i < window->messages->len; i++) {
    const SnapWindowMessage *message = window->messages->pdata[i];

    if (!check_watcher (watcher, error)
        || !snap_dm_message (message->device, message->text, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
resume_all (const SnapWindow *window, guint n_suspended, GError **error)
{
  gboolean all = TRUE;

  for (guint i = 0; i < n_suspended; i++)
    all = snap_dm_resume (window->devices->pdata[i], all ? error : NULL) && all;
  return all;
}

gboolean
guard_work (const SnapWindow *window, pid_t watcher, guint64 *window_us,
            GError **error)
{
  gint64 start_us = g_get_monotonic_time ();
  guint n_suspended = 0;
  gboolean sent = suspend_all (window, watcher, &n_suspended, error)
                  && send_all (window, watcher, error);
  gboolean resumed = resume_all (window, n_suspended, sent ? error : NULL);

  *window_us = (guint64) (g_get_monotonic_time () - start_us);
  return sent && resumed;
}
