/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "guard/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/protocol.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/device-mapper.h"

/* More than any window can hold. */
#define MAX_TEXT (4 * 1024 * 1024)

void
guard_say (const char *format, ...)
{
  char line[GUARD_MAX_LINE];
  va_list arguments;
  gsize length;

  va_start (arguments, format);
  g_vsnprintf (line, sizeof line - 1, format, arguments);
  va_end (arguments);
  for (char *c = line; *c != '\0'; c++)
    if (*c == '\n')
      *c = ' ';
  length = strlen (line);
  line[length] = '\n';
  send (GUARD_SOCKET_FD, line, length + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- before anything stands still ---- */

gboolean
guard_lock_memory (GError **error)
{
  if (mlockall (MCL_CURRENT | MCL_FUTURE) == 0)
    return TRUE;
  return snap_error_set_errno (error, errno, "guard: lock memory");
}

static SnapWindow *
read_window (GError **error)
{
  g_autofree char *text = g_malloc (MAX_TEXT + 1);
  gsize length = 0;
  gssize n;

  while ((n = pread (GUARD_WINDOW_FD, text + length, MAX_TEXT - length,
                     (off_t) length))
         > 0)
    length += (gsize) n;
  text[length] = '\0';
  if (n == 0 && strlen (text) == length)
    return snap_window_parse (text, error);
  snap_error_set (error, SNAP_ERROR_IO, "guard: cannot read the window");
  return NULL;
}

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

static gboolean
wait_for_go (void)
{
  char line[sizeof GUARD_GO]; /* with its newline */
  gsize length = 0;

  while (length < sizeof line) {
    gssize n = read (GUARD_SOCKET_FD, line + length, sizeof line - length);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return FALSE;
    length += (gsize) n;
  }
  return memcmp (line, GUARD_GO "\n", sizeof line) == 0;
}

static gboolean
get_ready (SnapWindow **window, GError **error)
{
  *window = read_window (error);
  return *window != NULL && guard_lock_memory (error) && snap_dm_open (error)
         && check_devices (*window, error);
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

int
main (int argc, char **argv)
{
  g_autoptr (SnapWindow) window = NULL;
  g_autoptr (GError) error = NULL;
  guint deadline_ms;

  if (!parse_deadline (argc, argv, &deadline_ms)) {
    fprintf (stderr, GUARD_PROGRAM ": is started by nbdsnap, not by hand\n");
    return 2;
  }
  hold_off_signals ();
  if (!get_ready (&window, &error)) {
    guard_say (GUARD_FAILED "%d %s", error->code, error->message);
    return 1;
  }
  guard_say (GUARD_READY);
  if (wait_for_go ())
    guard_watch (window, deadline_ms);
  return 0;
}
