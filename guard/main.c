/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard/guard.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/device-mapper.h"

/* Where no device is suspended, nothing of ours can lie on one, and this is
   only to be quick: who may not lock memory can still have a guest of theirs
   quieted. */
gboolean
guard_lock_memory (const SnapWindow *window, GError **error)
{
  if (mlockall (MCL_CURRENT | MCL_FUTURE) == 0 || window->devices->len == 0)
    return TRUE;
  return snap_error_set_errno (error, errno, "guard: lock memory");
}

/* ---- what there is to do ---- */

static SnapWindow *
read_window (GError **error)
{
  g_autofree char *text = NULL;
  gsize length = 0;
  struct stat file;
  gssize n;

  if (fstat (GUARD_WINDOW_FD, &file) < 0 || file.st_size < 0
      || file.st_size > SNAP_WINDOW_MAX_TEXT) {
    snap_error_set (error, SNAP_ERROR_IO, "guard: no window");
    return NULL;
  }
  text = g_malloc0 ((gsize) file.st_size + 1);
  while ((n = pread (GUARD_WINDOW_FD, text + length,
                     (gsize) file.st_size - length, (off_t) length))
         > 0)
    length += (gsize) n;
  if (n == 0 && strlen (text) == (gsize) file.st_size)
    return snap_window_parse (text, error);
  snap_error_set (error, SNAP_ERROR_IO, "guard: cannot read the window");
  return NULL;
}

static GuardNotes *
map_notes (GError **error)
{
  void *page = mmap (NULL, sizeof (GuardNotes), PROT_READ | PROT_WRITE,
                     MAP_SHARED, GUARD_NOTES_FD, 0);

  if (page != MAP_FAILED)
    return page;
  snap_error_set_errno (error, errno, "guard: notes");
  return NULL;
}

/* ---- before anything stands still ---- */

/* A device that somebody else has suspended is not ours to resume. */
static gboolean
check_devices (const SnapWindow *window, GError **error)
{
  for (guint i = 0; i < window->devices->len; i++) {
    const char *device = window->devices->pdata[i];
    SnapDmInfo info;

    if (!snap_dm_info (device, &info, error))
      return FALSE;
    if (!info.exists)
      return snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no such device",
                             device);
    if (info.suspended)
      return snap_error_set (error, SNAP_ERROR_BUSY,
                             "%s: is suspended by somebody else", device);
  }
  return TRUE;
}

/* A guest alone needs no device mapper. */
static gboolean
get_devices_ready (const SnapWindow *window, GError **error)
{
  if (window->devices->len == 0 && window->messages->len == 0)
    return TRUE;
  return snap_dm_open (error) && check_devices (window, error);
}

static gboolean
get_guest_ready (const GuardTask *task, GError **error)
{
  g_autoptr (GuardGuest) guest = NULL;

  if (!task->window->has_guest)
    return TRUE;
  guest = guard_guest_open (task);
  return guard_guest_check (guest, error);
}

static gboolean
get_ready (SnapWindow **window, GuardTask *task, GError **error)
{
  g_autoptr (GError) first = NULL;

  /* The text of the first one is converted with what is opened for it. */
  snap_error_set_errno (&first, EIO, "guard");
  task->window = *window = read_window (error);
  return task->window != NULL && (task->notes = map_notes (error)) != NULL
         && (task->commands = guard_commands_parse (*window, error)) != NULL
         && guard_lock_memory (*window, error)
         && get_devices_ready (*window, error) && get_guest_ready (task, error);
}

/* A window is short, and ends by itself: no signal that can be held off may
   cut it shorter. */
static void
hold_off_signals (void)
{
  static const int all[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE,
                             SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP };

  for (gsize i = 0; i < G_N_ELEMENTS (all); i++)
    signal (all[i], SIG_IGN);
}

static gboolean
parse_deadline (int argc, char **argv, guint *deadline_ms)
{
  guint64 value;

  if (argc != 2
      || !g_ascii_string_to_unsigned (argv[1], 10, 1, GUARD_MAX_DEADLINE_MS,
                                      &value, NULL))
    return FALSE;
  *deadline_ms = (guint) value;
  return TRUE;
}

static gboolean
wait_for_go (void)
{
  char word[GUARD_MAX_WORD];

  return guard_hear (word, G_MAXINT64, -1) == GUARD_HEARD_WORD
         && g_str_equal (word, GUARD_GO);
}

int
main (int argc, char **argv)
{
  g_autoptr (SnapWindow) window = NULL;
  g_autoptr (GError) error = NULL;
  GuardTask task = { 0 };
  guint deadline_ms;

  if (!parse_deadline (argc, argv, &deadline_ms)) {
    fprintf (stderr, GUARD_PROGRAM ": is started by nbdsnap, not by hand\n");
    return 2;
  }
  hold_off_signals ();
  if (!get_ready (&window, &task, &error)) {
    guard_say (GUARD_FAILED "%d %s", error->code, error->message);
    return 1;
  }
  guard_say (GUARD_READY);
  if (wait_for_go ())
    guard_watch (&task, deadline_ms);
  return 0;
}
