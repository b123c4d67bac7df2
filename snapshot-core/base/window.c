/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/window.h"

#include <string.h>

#include "snapshot-core/base/error.h"

#define COMMAND "command "

/* Whether the guest ran. */
static const char *const state_words[] = {
  [FALSE] = "paused",
  [TRUE] = "running",
};

static void
message_free (SnapWindowMessage *message)
{
  g_free (message->device);
  g_free (message->text);
  g_free (message);
}

SnapWindow *
snap_window_new (void)
{
  SnapWindow *self = g_new0 (SnapWindow, 1);

  self->devices = g_ptr_array_new_with_free_func (g_free);
  self->messages =
      g_ptr_array_new_with_free_func ((GDestroyNotify) message_free);
  self->commands = g_ptr_array_new_with_free_func (g_free);
  return self;
}

void
snap_window_free (SnapWindow *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref (self->devices);
  g_ptr_array_unref (self->messages);
  g_ptr_array_unref (self->commands);
  g_free (self);
}

void
snap_window_suspend (SnapWindow *self, const char *device)
{
  if (!g_ptr_array_find_with_equal_func (self->devices, device, g_str_equal,
                                         NULL))
    g_ptr_array_add (self->devices, g_strdup (device));
}

void
snap_window_send (SnapWindow *self, const char *device, const char *text)
{
  SnapWindowMessage *message = g_new0 (SnapWindowMessage, 1);

  message->device = g_strdup (device);
  message->text = g_strdup (text);
  g_ptr_array_add (self->messages, message);
}

void
snap_window_set_guest (SnapWindow *self, SnapQuiesce quiesce, gboolean running)
{
  self->has_guest = TRUE;
  self->quiesce = quiesce;
  self->running = !!running;
}

void
snap_window_execute (SnapWindow *self, const char *command)
{
  self->has_guest = TRUE;
  g_ptr_array_add (self->commands, g_strdup (command));
}

gboolean
snap_window_needs_guest (const SnapWindow *self)
{
  return self->commands->len > 0;
}

gboolean
snap_window_is_empty (const SnapWindow *self)
{
  return self->devices->len == 0 && self->messages->len == 0
         && self->commands->len == 0 && self->quiesce == SNAP_QUIESCE_NONE;
}

/* ---- as text ---- */

char *
snap_window_format (const SnapWindow *self)
{
  GString *text = g_string_new (NULL);

  if (self->has_guest)
    g_string_append_printf (text, "guest %s %s\n",
                            snap_quiesce_name (self->quiesce),
                            state_words[self->running]);
  for (guint i = 0; i < self->commands->len; i++)
    g_string_append_printf (text, COMMAND "%s\n",
                            (const char *) self->commands->pdata[i]);
  for (guint i = 0; i < self->devices->len; i++)
    g_string_append_printf (text, "suspend %s\n",
                            (const char *) self->devices->pdata[i]);
  for (guint i = 0; i < self->messages->len; i++) {
    const SnapWindowMessage *message = self->messages->pdata[i];

    g_string_append_printf (text, "message %s %s\n", message->device,
                            message->text);
  }
  return g_string_free (text, FALSE);
}

static gboolean
is_word (const char *word)
{
  gsize length = strlen (word);

  for (gsize i = 0; i < length; i++)
    if (!g_ascii_isgraph (word[i]))
      return FALSE;
  return length > 0 && length <= SNAP_WINDOW_MAX_WORD;
}

static gboolean
is_message (const char *text)
{
  gsize length = strlen (text);

  for (gsize i = 0; i < length; i++)
    if (!g_ascii_isprint (text[i]))
      return FALSE;
  return length > 0 && length <= SNAP_WINDOW_MAX_WORD;
}

static gboolean
is_command (const char *text)
{
  gsize length = strlen (text);

  for (gsize i = 0; i < length; i++)
    if (g_ascii_iscntrl (text[i]))
      return FALSE;
  return text[0] == '{' && length <= SNAP_WINDOW_MAX_COMMAND
         && g_utf8_validate (text, (gssize) length, NULL);
}

/* The place of @word in a table, or -1. */
static gboolean
parse_state (const char *word, gboolean *running)
{
  for (gsize i = 0; i < G_N_ELEMENTS (state_words); i++)
    if (g_str_equal (state_words[i], word)) {
      *running = (gboolean) i;
      return TRUE;
    }
  return FALSE;
}

static gboolean
parse_guest (SnapWindow *self, const char *quiesce_word, const char *state_word)
{
  SnapQuiesce quiesce;
  gboolean running;

  if (self->has_guest || self->devices->len > 0 || self->messages->len > 0
      || !snap_quiesce_parse (quiesce_word, &quiesce)
      || !parse_state (state_word, &running))
    return FALSE;
  snap_window_set_guest (self, quiesce, running);
  return TRUE;
}

static gboolean
parse_step (SnapWindow *self, const char *line)
{
  g_auto (GStrv) words = g_strsplit (line, " ", 3);
  guint n = g_strv_length (words);

  if (n < 2 || !is_word (words[1]))
    return FALSE;
  if (n == 3 && g_str_equal (words[0], "guest"))
    return parse_guest (self, words[1], words[2]);
  if (n == 2 && g_str_equal (words[0], "suspend"))
    snap_window_suspend (self, words[1]);
  else if (n == 3 && g_str_equal (words[0], "message") && is_message (words[2]))
    snap_window_send (self, words[1], words[2]);
  else
    return FALSE;
  return TRUE;
}

static gboolean
parse_line (SnapWindow *self, const char *line)
{
  const char *command = line + strlen (COMMAND);

  if (!g_str_has_prefix (line, COMMAND))
    return parse_step (self, line);
  if (!self->has_guest || !is_command (command))
    return FALSE;
  snap_window_execute (self, command);
  return TRUE;
}

SnapWindow *
snap_window_parse (const char *text, GError **error)
{
  g_autoptr (SnapWindow) self = snap_window_new ();
  g_auto (GStrv) lines = g_strsplit (text, "\n", SNAP_WINDOW_MAX_STEPS + 2);
  guint n = g_strv_length (lines);
  gboolean good = n <= SNAP_WINDOW_MAX_STEPS + 1
                  && (n == 0 || lines[n - 1][0] == '\0'); /* it ends too */

  for (guint i = 0; good && i + 1 < n; i++)
    good = parse_line (self, lines[i]);
  if (good)
    return g_steal_pointer (&self);
  snap_error_set (error, SNAP_ERROR_CORRUPT, "window: cannot be understood");
  return NULL;
}
