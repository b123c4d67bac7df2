/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"

#define DEFAULT_TIMEOUT_MS (60 * 1000)

/* Of stderr the head is enough: messages carry its first line. */
#define MAX_STDERR (64 * 1024)

/* The longest part of a tool's line that a message carries, bytes. */
#define MAX_LINE 1000

#define READ_CHUNK (64 * 1024)

/* How often to look whether a silent tool has ended. */
#define LOOK_MS 50

/* ---- what a tool prints, while it runs ---- */

typedef struct {
  int fd; /* the end that we read; -1 once nothing more can come */
  GByteArray *data;
  gsize limit;       /* the most that is kept, bytes */
  gboolean overflow; /* there was more */
} Stream;

static void
stream_clear (Stream *self)
{
  snap_fd_clear (&self->fd);
  g_clear_pointer (&self->data, g_byte_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Stream, stream_clear)

static Stream
stream_init (gsize limit)
{
  return (Stream){ .fd = -1, .data = g_byte_array_new (), .limit = limit };
}

/* Make the pipe; the tool's end goes to *tool_fd. */
static gboolean
stream_open (Stream *self, int *tool_fd, const char *program, GError **error)
{
  int ends[2];

  if (pipe2 (ends, O_CLOEXEC) < 0)
    return snap_error_set_errno (error, errno, "%s: pipe", program);
  self->fd = ends[0];
  *tool_fd = ends[1];
  if (fcntl (self->fd, F_SETFL, O_NONBLOCK) < 0)
    return snap_error_set_errno (error, errno, "%s: pipe", program);
  return TRUE;
}

static void
stream_read (Stream *self)
{
  g_autofree guint8 *chunk = g_malloc (READ_CHUNK);
  gssize n = read (self->fd, chunk, READ_CHUNK);
  gsize kept;

  if (n < 0 && (errno == EINTR || errno == EAGAIN))
    return;
  if (n <= 0) {
    snap_fd_clear (&self->fd);
    return;
  }
  kept = MIN ((gsize) n, self->limit - self->data->len);
  self->overflow = self->overflow || kept < (gsize) n;
  g_byte_array_append (self->data, chunk, (guint) kept);
}

/* NUL-terminated; leaves the stream empty. */
static char *
stream_take_text (Stream *self)
{
  g_byte_array_append (self->data, (const guint8 *) "", 1);
  return (char *) g_byte_array_free (g_steal_pointer (&self->data), FALSE);
}

/* ---- messages ---- */

static const char *
skip_program_name (const char *line, const char *program)
{
  gsize length = strlen (program);

  if (strncmp (line, program, length) == 0 && line[length] == ':'
      && line[length + 1] == ' ')
    return line + length + 2;
  return line;
}

/* Append the first character of @text as it may stand in a message; returns
   its length in bytes. */
static gsize
append_printable (GString *line, const char *text, gsize length)
{
  gunichar c = g_utf8_get_char_validated (text, (gssize) length);
  gboolean valid = c != (gunichar) -1 && c != (gunichar) -2;
  gsize n = valid ? (gsize) (g_utf8_next_char (text) - text) : 1;

  if (valid && g_unichar_isprint (c)) {
    g_string_append_len (line, text, (gssize) n);
    return n;
  }
  for (gsize i = 0; i < n; i++)
    g_string_append_printf (line, "\\x%02x", (guint8) text[i]);
  return n;
}

char *
snap_command_first_line (const char *program, const char *text)
{
  g_autofree char *base_name = g_path_get_basename (program);
  g_autoptr (GString) line = g_string_new (NULL);
  gsize length;

  text += strspn (text, " \t\r\n");
  text = skip_program_name (text, program);
  text = skip_program_name (text, base_name);
  length = strcspn (text, "\r\n");
  for (gsize i = 0; i < length;) {
    if (line->len >= MAX_LINE) {
      g_string_append (line, "...");
      break;
    }
    i += append_printable (line, text + i, length - i);
  }
  return line->len > 0 ? g_string_free (g_steal_pointer (&line), FALSE) : NULL;
}

/* ---- one run ---- */

typedef struct {
  char *program; /* for messages: the last part of argv[0] */
  Stream out, err;
  guint timeout_ms;
  SnapDeadline deadline;
  pid_t pid;
} Run;

static void
run_clear (Run *self)
{
  g_free (self->program);
  stream_clear (&self->out);
  stream_clear (&self->err);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

static Run
run_init (const char *program, const SnapCommandOptions *options)
{
  guint timeout_ms = options != NULL ? options->timeout_ms : 0;

  if (timeout_ms == 0)
    timeout_ms = DEFAULT_TIMEOUT_MS;
  return (Run){
    .program = g_path_get_basename (program),
    .out = stream_init (SNAP_COMMAND_MAX_OUTPUT),
    .err = stream_init (MAX_STDERR),
    .timeout_ms = timeout_ms,
    .deadline = snap_deadline_in (timeout_ms),
  };
}

static gboolean
run_start (Run *self, const char *const *argv,
           const SnapCommandOptions *options, gboolean want_output,
           GError **error)
{
  gsize n_extra = options != NULL ? options->n_fds : 0, n = 0;
  g_autofree SnapChildFd *fds = g_new (SnapChildFd, n_extra + 2);
  snap_autofd int out_fd = -1, err_fd = -1;

  for (; n < n_extra; n++)
    fds[n] = options->fds[n];
  if (!stream_open (&self->err, &err_fd, self->program, error))
    return FALSE;
  fds[n++] = (SnapChildFd){ err_fd, STDERR_FILENO };
  if (want_output) {
    if (!stream_open (&self->out, &out_fd, self->program, error))
      return FALSE;
    fds[n++] = (SnapChildFd){ out_fd, STDOUT_FILENO };
  }
  self->pid = snap_child_start (
      &(SnapChildSpec){ .argv = argv, .fds = fds, .n_fds = n }, error);
  return self->pid > 0;
}

static gboolean
still_running (Run *self, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_IO, "%s: still running after %.1f s",
                         self->program, self->timeout_ms / 1000.0);
}

/* Read what is there, waiting a little for it.  Returns whether more may
   come: what a tool leaves behind in the background keeps the pipes open, so
   once the tool has ended and nothing is there, nothing is expected. */
static gboolean
run_read (Run *self, int wait_ms)
{
  struct pollfd polled[] = {
    { .fd = self->out.fd, .events = POLLIN },
    { .fd = self->err.fd, .events = POLLIN },
  };
  gboolean had_ended = snap_child_wait (self->pid, 0);

  if (poll (polled, G_N_ELEMENTS (polled), had_ended ? 0 : wait_ms) <= 0)
    return !had_ended;
  if (polled[0].revents != 0)
    stream_read (&self->out);
  if (polled[1].revents != 0)
    stream_read (&self->err);
  return self->out.fd >= 0 || self->err.fd >= 0;
}

/* Read all that the tool prints and wait until it has ended. */
static gboolean
run_collect (Run *self, GError **error)
{
  int left_ms = snap_deadline_left_ms (self->deadline);

  while (run_read (self, MIN (left_ms, LOOK_MS))) {
    if (self->out.overflow)
      return snap_error_set (error, SNAP_ERROR_IO,
                             "%s: printed more than %d bytes", self->program,
                             SNAP_COMMAND_MAX_OUTPUT);
    left_ms = snap_deadline_left_ms (self->deadline);
    if (left_ms == 0)
      return still_running (self, error);
  }
  return snap_child_wait (self->pid, (guint) left_ms)
         || still_running (self, error);
}

static gboolean
check_status (Run *self, int status, GError **error)
{
  SnapError code = WIFEXITED (status) ? SNAP_ERROR_FAILED : SNAP_ERROR_IO;
  g_autofree char *how = snap_child_status_text (status);
  g_autofree char *text = stream_take_text (&self->err);
  g_autofree char *line = snap_command_first_line (self->program, text);

  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return TRUE;
  if (line == NULL)
    return snap_error_set (error, code, "%s: %s", self->program, how);
  return snap_error_set (error, code, "%s: %s (%s)", self->program, line, how);
}

gboolean
snap_command_run (const char *const *argv, const SnapCommandOptions *options,
                  char **output, GError **error)
{
  g_auto (Run) run = run_init (argv[0], options);
  int status;

  if (!run_start (&run, argv, options, output != NULL, error))
    return FALSE;
  if (!run_collect (&run, error)) {
    snap_child_reap (run.pid, 0);
    return FALSE;
  }
  status = snap_child_reap (run.pid, 0);
  if (!check_status (&run, status, error))
    return FALSE;
  if (output != NULL)
    *output = stream_take_text (&run.out);
  return TRUE;
}
