/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An owner of a guard, as the services are, that does what it is told and can
 * be killed or stopped by a test at any time.
 *
 *   own-guard QMP_FD AGENT_FD <COMMANDS
 *
 * The first lines of its input are the window, up to an empty one.  Then a
 * line each, answered by a line each: "quiet", "go", "undo".  The answer is
 * "ok", with the times after "go", or "error CODE TEXT"; the first one is
 * about the start.  At the end of its input the guard is freed.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot-core/service/guard.h"

static char *
read_line (void)
{
  char *line = NULL;
  size_t room = 0;
  ssize_t length = getline (&line, &room, stdin);

  if (length > 0 && line[length - 1] == '\n')
    line[length - 1] = '\0';
  if (length >= 0)
    return line;
  free (line);
  return NULL;
}

static SnapWindow *
read_window (void)
{
  GString *text = g_string_new (NULL);
  SnapWindow *window;
  char *line;

  while ((line = read_line ()) != NULL && *line != '\0') {
    g_string_append_printf (text, "%s\n", line);
    free (line);
  }
  free (line);
  window = snap_window_parse (text->str, NULL);
  g_string_free (text, TRUE);
  return window;
}

static void
answer (gboolean good, const SnapGuardTimes *times, const GError *error)
{
  if (!good)
    printf ("error %d %s\n", error->code, error->message);
  else if (times != NULL)
    printf ("ok %d %d %d %d\n", times->stopped, times->frozen,
            times->stopped_us > 0, times->frozen_us > 0);
  else
    printf ("ok\n");
  fflush (stdout);
}

static void
obey (SnapGuard *guard, const char *word)
{
  g_autoptr (GError) error = NULL;
  SnapGuardTimes times = { 0 };
  gboolean goes = strcmp (word, "go") == 0;
  gboolean good;

  if (goes)
    good = snap_guard_go (guard, &times, &error);
  else if (strcmp (word, "quiet") == 0)
    good = snap_guard_quiet (guard, &error);
  else
    good = snap_guard_undo (guard, &error);
  answer (good, goes ? &times : NULL, error);
}

int
main (int argc, char **argv)
{
  const SnapGuardGuest guest = { atoi (argv[1]), atoi (argv[2]), -1 };
  g_autoptr (SnapWindow) window = read_window ();
  g_autoptr (GArray) locks = g_array_new (FALSE, FALSE, sizeof (int));
  g_autoptr (GError) error = NULL;
  g_autoptr (SnapGuard) guard =
      snap_guard_start (window, &guest, locks, &error);
  char *line;

  answer (guard != NULL, NULL, error);
  while (guard != NULL && (line = read_line ()) != NULL) {
    obey (guard, line);
    free (line);
  }
  return 0;
}
