/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/guard.h"

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

/* Until there is something to read. */
static GuardHeard
await_owner (SnapDeadline deadline, int other_fd)
{
  struct pollfd fds[] = { { .fd = GUARD_SOCKET_FD, .events = POLLIN },
                          { .fd = other_fd } };
  int n;

  do
    n = poll (fds, G_N_ELEMENTS (fds), snap_deadline_left_ms (deadline));
  while (n < 0 && errno == EINTR);
  if (n == 0)
    return GUARD_HEARD_NOTHING;
  return n > 0 && fds[1].revents == 0 ? GUARD_HEARD_WORD : GUARD_HEARD_END;
}

GuardHeard
guard_hear (char word[GUARD_MAX_WORD], SnapDeadline deadline, int other_fd)
{
  for (gsize i = 0; i < GUARD_MAX_WORD; i++) {
    GuardHeard heard = await_owner (deadline, other_fd);

    if (heard != GUARD_HEARD_WORD)
      return heard;
    if (read (GUARD_SOCKET_FD, word + i, 1) != 1)
      return GUARD_HEARD_END;
    if (word[i] == '\n') {
      word[i] = '\0';
      return GUARD_HEARD_WORD;
    }
  }
  return GUARD_HEARD_END;
}
