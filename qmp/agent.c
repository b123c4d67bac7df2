/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/agent.h"

#include <string.h>
#include <sys/random.h>

#include "qmp/channel.h"
#include "qmp/message.h"

/* Before a sync, both ways: no byte of UTF-8.  It makes void whatever half
   message is before it. */
#define DELIMITER '\xff'

#define CONNECT_MS 2000

struct _QmpAgent {
  QmpChannel *channel;
  gboolean is_synced; /* the next answer is to the next command */
  gint64 sync_id;
  const char *command; /* that waits for its answer; NULL: a sync does */
  JsonNode *body;      /* of the answer that was waited for, */
  gboolean is_error;
  gboolean is_answered; /* if it has come */
  gboolean is_broken;   /* what came cannot be read */
};

/* ---- what comes ---- */

static gboolean
is_our_sync (QmpAgent *self, const QmpMessage *message)
{
  return message->kind == QMP_MESSAGE_RETURN
         && json_node_get_value_type (message->body) == G_TYPE_INT64
         && json_node_get_int (message->body) == self->sync_id;
}

/* Whatever is not the answer to our sync is for those who were here before. */
static void
take_sync (QmpAgent *self, const char *line, gsize length)
{
  const char *mark = memrchr (line, DELIMITER, length);
  g_autoptr (QmpMessage) message = NULL;

  if (mark == NULL)
    return;
  message =
      qmp_message_parse (mark + 1, (gsize) (line + length - mark - 1), NULL);
  self->is_answered = message != NULL && is_our_sync (self, message);
  self->is_synced = self->is_answered;
}

static void
take_answer (QmpAgent *self, const char *line, gsize length)
{
  g_autoptr (QmpMessage) message = qmp_message_parse (line, length, NULL);

  if (message == NULL
      || (message->kind != QMP_MESSAGE_RETURN
          && message->kind != QMP_MESSAGE_ERROR)) {
    self->is_broken = TRUE;
    return;
  }
  self->body = g_steal_pointer (&message->body);
  self->is_error = message->kind == QMP_MESSAGE_ERROR;
  self->is_answered = self->is_synced = TRUE;
}

static void
on_line (const char *line, gsize length, gpointer user_data)
{
  QmpAgent *self = user_data;

  if (length > 0 && line[length - 1] == '\r')
    length--;
  if (self->is_answered || self->is_broken)
    self->is_synced = FALSE; /* one that nobody has asked for */
  else if (self->command == NULL)
    take_sync (self, line, length);
  else if (length > 0)
    take_answer (self, line, length);
}

static const QmpChannelFuncs channel_funcs = { on_line, NULL };

/* ---- asking ---- */

/* Poisoned from here on, unless the answer comes. */
static gboolean
ask (QmpAgent *self, const char *text, gint64 deadline_us, GError **error)
{
  g_clear_pointer (&self->body, json_node_unref);
  self->is_answered = self->is_broken = self->is_synced = FALSE;
  if (!qmp_channel_send (self->channel, text, NULL, 0, error))
    return FALSE;
  while (!self->is_answered && !self->is_broken)
    if (!qmp_channel_run (self->channel, deadline_us, error))
      return FALSE;
  if (self->is_broken)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "an answer that cannot be read");
  return TRUE;
}

/* An id that nobody else has used; it is small enough for agents that count
   in floating point. */
static gint64
make_sync_id (void)
{
  guint64 id;

  if (getrandom (&id, sizeof id, 0) < 0)
    id = (guint64) g_get_monotonic_time ();
  return (gint64) (id >> 12 | 1);
}

static gboolean
sync_until (QmpAgent *self, gint64 deadline_us, GError **error)
{
  g_autoptr (JsonObject) arguments = json_object_new ();
  g_autofree char *text = NULL, *all = NULL;

  self->sync_id = make_sync_id ();
  json_object_set_int_member (arguments, "id", self->sync_id);
  text = qmp_message_format ("guest-sync-delimited", arguments, NULL);
  all = g_strdup_printf ("%c%s", DELIMITER, text);
  return ask (self, all, deadline_us, error);
}

static gboolean
ask_command (QmpAgent *self, const char *command, JsonObject *arguments,
             gint64 deadline_us, GError **error)
{
  g_autofree char *text = qmp_message_format (command, arguments, NULL);
  gboolean ok;

  /* What has come unasked would pass for the answer. */
  if (qmp_channel_drain (self->channel))
    self->is_synced = FALSE;
  if (!self->is_synced && !sync_until (self, deadline_us, error))
    return FALSE;
  self->command = command;
  ok = ask (self, text, deadline_us, error);
  self->command = NULL;
  return ok;
}

/* ---- the agent ---- */

static gint64
deadline_in (guint timeout_ms)
{
  return g_get_monotonic_time () + (gint64) timeout_ms * 1000;
}

QmpAgent *
qmp_agent_adopt (int fd)
{
  QmpAgent *self = g_new0 (QmpAgent, 1);

  self->channel = qmp_channel_new (fd, "the guest agent");
  qmp_channel_set_funcs (self->channel, &channel_funcs, self);
  return self;
}

QmpAgent *
qmp_agent_connect (const char *path, GError **error)
{
  int fd = qmp_channel_connect (path, deadline_in (CONNECT_MS), NULL, error);

  return fd < 0 ? NULL : qmp_agent_adopt (fd);
}

void
qmp_agent_close (QmpAgent *self)
{
  g_clear_pointer (&self->body, json_node_unref);
  qmp_channel_free (self->channel);
  g_free (self);
}

int
qmp_agent_fd (QmpAgent *self)
{
  return qmp_channel_fd (self->channel);
}

void
qmp_agent_resume (QmpAgent *self)
{
  self->is_synced = FALSE;
}

void
qmp_agent_set_cancellable (QmpAgent *self, GCancellable *cancellable)
{
  qmp_channel_set_cancellable (self->channel, cancellable);
}

gboolean
qmp_agent_sync (QmpAgent *self, guint timeout_ms, GError **error)
{
  if (sync_until (self, deadline_in (timeout_ms), error))
    return TRUE;
  g_prefix_error (error, "guest-sync-delimited: ");
  return FALSE;
}

JsonNode *
qmp_agent_execute (QmpAgent *self, const char *command, JsonObject *arguments,
                   guint timeout_ms, GError **error)
{
  g_autoptr (JsonObject) taken = arguments;

  if (!ask_command (self, command, taken, deadline_in (timeout_ms), error)) {
    g_prefix_error (error, "%s: ", command);
    return NULL;
  }
  if (!self->is_error)
    return g_steal_pointer (&self->body);
  qmp_message_set_error (self->body, command, error);
  return NULL;
}
