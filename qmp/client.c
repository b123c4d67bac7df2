/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/client.h"

#include <sys/random.h>

#include "qmp/client-private.h"
#include "qmp/json.h"
#include "qmp/message.h"

/* A JSON reader that is in the middle of something starts anew at this byte,
   which is none of UTF-8.  So half a command of somebody else, if there is
   one, does not swallow ours. */
#define INTERRUPT "\xff"

typedef struct {
  JsonObject *object;
  gsize size;
} Event;

struct _QmpClient {
  QmpChannel *channel;
  guint64 id; /* what is ours bears it */
  guint64 n_sent;
  GQueue calls;  /* QmpCall that are not done, in the order they were sent */
  GQueue events; /* Event, the oldest first */
  gsize events_size;
  gboolean is_greeted;
  guint version;
  /* Until an answer of ours comes, what comes may be the rest of a line, or
     an answer to somebody else. */
  gboolean is_catching_up;
  gboolean must_interrupt; /* before anything else is sent */
};

static gint64
deadline_in (guint timeout_ms)
{
  return g_get_monotonic_time () + (gint64) timeout_ms * 1000;
}

/* ---- calls ---- */

static void
end_call (QmpCall *call)
{
  call->done = TRUE;
  g_queue_remove (&call->client->calls, call);
  if (call->notify != NULL)
    call->notify (call);
}

void
qmp_call_fail (QmpCall *self, GError *error)
{
  if (self->done) {
    g_error_free (error);
    return;
  }
  self->error = error;
  end_call (self);
}

void
qmp_call_free (QmpCall *self)
{
  if (!self->done)
    g_queue_remove (&self->client->calls, self);
  g_clear_pointer (&self->value, json_node_unref);
  g_clear_error (&self->error);
  g_free (self->command);
  g_free (self->id);
  g_free (self);
}

JsonNode *
qmp_call_take (QmpCall *self, GError **error)
{
  if (self->error != NULL)
    g_propagate_error (error, g_steal_pointer (&self->error));
  return g_steal_pointer (&self->value);
}

static gboolean
send_call (QmpClient *self, QmpCall *call, JsonObject *arguments,
           const int *fds, guint n_fds, GError **error)
{
  g_autofree char *text =
      qmp_message_format (call->command, arguments, call->id);
  g_autofree char *all =
      g_strconcat (self->must_interrupt ? INTERRUPT : "", text, NULL);

  if (!qmp_channel_send (self->channel, all, fds, n_fds, error)) {
    g_prefix_error (error, "%s: ", call->command);
    return FALSE;
  }
  self->must_interrupt = FALSE;
  return TRUE;
}

QmpCall *
qmp_call_start (QmpClient *client, const char *command, JsonObject *arguments,
                const int *fds, guint n_fds, GError **error)
{
  g_autoptr (JsonObject) taken = arguments;
  g_autoptr (QmpCall) self = g_new0 (QmpCall, 1);

  self->client = client;
  self->command = g_strdup (command);
  self->id = g_strdup_printf ("%016" G_GINT64_MODIFIER "x-%" G_GUINT64_FORMAT,
                              client->id, ++client->n_sent);
  g_queue_push_tail (&client->calls, self);
  if (!send_call (client, self, taken, fds, n_fds, error))
    return NULL;
  return g_steal_pointer (&self);
}

/* ---- what comes ---- */

static QmpCall *
find_call (QmpClient *self, const QmpMessage *message)
{
  /* What the peer could not read, it answers without an id, in its turn. */
  if (!message->has_id && message->kind == QMP_MESSAGE_ERROR
      && !self->is_catching_up)
    return g_queue_peek_head (&self->calls);
  for (GList *at = self->calls.head; at != NULL; at = at->next) {
    QmpCall *call = at->data;

    if (g_strcmp0 (call->id, message->id) == 0)
      return call;
  }
  return NULL;
}

/* One that nobody waits for came late, or is somebody else's. */
static void
take_answer (QmpClient *self, QmpMessage *message)
{
  QmpCall *call = find_call (self, message);

  if (call == NULL)
    return;
  self->is_catching_up = FALSE;
  if (message->kind == QMP_MESSAGE_ERROR)
    qmp_message_set_error (message->body, call->command, &call->error);
  else
    call->value = g_steal_pointer (&message->body);
  end_call (call);
}

static void
event_free (Event *event)
{
  json_object_unref (event->object);
  g_free (event);
}

static Event *
drop_event (QmpClient *self, GList *link)
{
  Event *event = link->data;

  self->events_size -= event->size;
  g_queue_delete_link (&self->events, link);
  return event;
}

static void
keep_event (QmpClient *self, JsonNode *body, gsize size)
{
  Event *event = g_new0 (Event, 1);

  event->object = json_node_dup_object (body);
  event->size = size;
  self->events_size += size;
  g_queue_push_tail (&self->events, event);
  while (
      self->events.length > QMP_MAX_EVENTS
      || (self->events_size > QMP_MAX_EVENT_BYTES && self->events.length > 1))
    event_free (drop_event (self, self->events.head));
}

static guint
part_of_version (JsonObject *qemu, const char *part)
{
  return (guint) MIN (qmp_json_size (qemu, part, 0), 99);
}

static void
take_greeting (QmpClient *self, JsonNode *body)
{
  JsonObject *version = qmp_json_object (qmp_json_as_object (body), "version");
  JsonObject *qemu = version == NULL ? NULL : qmp_json_object (version, "qemu");

  self->is_greeted = TRUE;
  if (qemu != NULL)
    self->version = part_of_version (qemu, "major") * 10000
                    + part_of_version (qemu, "minor") * 100
                    + part_of_version (qemu, "micro");
}

static void
break_rules (QmpClient *self, const char *how)
{
  qmp_channel_break (self->channel, g_error_new (QMP_ERROR, QMP_ERROR_PROTOCOL,
                                                 "the monitor sends %s", how));
}

static void
take_message (QmpClient *self, QmpMessage *message, gsize size)
{
  if (!self->is_greeted && message->kind != QMP_MESSAGE_GREETING)
    break_rules (self, "something else than a greeting");
  else if (message->kind == QMP_MESSAGE_GREETING)
    take_greeting (self, message->body);
  else if (message->kind == QMP_MESSAGE_EVENT)
    keep_event (self, message->body, size);
  else
    take_answer (self, message);
}

static void
on_line (const char *line, gsize length, gpointer user_data)
{
  QmpClient *self = user_data;
  g_autoptr (QmpMessage) message = NULL;
  g_autoptr (GError) reason = NULL;

  if (length > 0 && line[length - 1] == '\r')
    length--;
  if (length == 0)
    return;
  message = qmp_message_parse (line, length, &reason);
  if (message != NULL)
    take_message (self, message, length);
  else if (!self->is_catching_up)
    break_rules (self, reason->message);
}

static void
on_broken (const GError *reason, gpointer user_data)
{
  QmpClient *self = user_data;
  QmpCall *call;

  while ((call = g_queue_peek_head (&self->calls)) != NULL) {
    GError *error = g_error_copy (reason);

    g_prefix_error (&error, "%s: ", call->command);
    qmp_call_fail (call, error);
  }
}

static const QmpChannelFuncs channel_funcs = { on_line, on_broken };

/* ---- the client ---- */

static QmpClient *
make_client (int fd)
{
  QmpClient *self = g_new0 (QmpClient, 1);

  /* Not of GLib, which would open a file for it.  It may be interrupted only
     before the system has ever had any. */
  if (getrandom (&self->id, sizeof self->id, 0) < 0)
    self->id = (guint64) g_get_monotonic_time ();
  g_queue_init (&self->calls);
  g_queue_init (&self->events);
  self->channel = qmp_channel_new (fd, "the monitor");
  qmp_channel_set_funcs (self->channel, &channel_funcs, self);
  return self;
}

static gboolean
await_greeting (QmpClient *self, gint64 deadline_us, GError **error)
{
  GError *reason = NULL;

  while (!self->is_greeted
         && qmp_channel_run (self->channel, deadline_us, &reason))
    ;
  if (self->is_greeted)
    return TRUE;
  if (g_error_matches (reason, QMP_ERROR, QMP_ERROR_TIMEOUT)) {
    g_clear_error (&reason);
    return qmp_error_set (error, QMP_ERROR_BUSY,
                          "no greeting: another client has the monitor");
  }
  g_propagate_error (error, reason);
  return FALSE;
}

static gboolean
negotiate (QmpClient *self, GError **error)
{
  g_autoptr (JsonNode) nothing = qmp_client_execute (
      self, "qmp_capabilities", NULL, QMP_COMMAND_MS, error);

  return nothing != NULL;
}

static QmpClient *
begin (int fd, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
  g_autoptr (QmpClient) self = make_client (fd);

  qmp_client_set_cancellable (self, cancellable);
  if (!await_greeting (self, deadline_us, error) || !negotiate (self, error))
    return NULL;
  qmp_client_set_cancellable (self, NULL);
  return g_steal_pointer (&self);
}

QmpClient *
qmp_client_connect (const char *path, guint greeting_ms,
                    GCancellable *cancellable, GError **error)
{
  gint64 deadline_us = deadline_in (greeting_ms);
  int fd = qmp_channel_connect (path, deadline_us, cancellable, error);
  QmpClient *self =
      fd >= 0 ? begin (fd, deadline_us, cancellable, error) : NULL;

  if (fd >= 0 && self == NULL)
    g_prefix_error (error, "%s: ", path);
  return self;
}

QmpClient *
qmp_client_take (int fd, guint greeting_ms, GCancellable *cancellable,
                 GError **error)
{
  return begin (fd, deadline_in (greeting_ms), cancellable, error);
}

void
qmp_client_resume (QmpClient *self)
{
  self->is_catching_up = TRUE;
  self->must_interrupt = TRUE;
  qmp_channel_drain (self->channel);
}

QmpClient *
qmp_client_adopt (int fd)
{
  QmpClient *self = make_client (fd);

  self->is_greeted = TRUE;
  qmp_client_resume (self);
  return self;
}

/* Calls of the other kind end when their task is told, which takes a run. */
void
qmp_client_close (QmpClient *self)
{
  if (qmp_channel_broken (self->channel) == NULL)
    qmp_channel_break (
        self->channel,
        g_error_new (QMP_ERROR, QMP_ERROR_CANCELLED, "the client was closed"));
  while (g_main_context_iteration (qmp_client_context (self), FALSE))
    ;
  qmp_client_forget_events (self);
  qmp_channel_free (self->channel);
  g_free (self);
}

int
qmp_client_fd (QmpClient *self)
{
  return qmp_channel_fd (self->channel);
}

QmpChannel *
qmp_client_channel (QmpClient *self)
{
  return self->channel;
}

GMainContext *
qmp_client_context (QmpClient *self)
{
  return qmp_channel_context (self->channel);
}

gboolean
qmp_client_is_gone (QmpClient *self)
{
  return qmp_channel_is_gone (self->channel);
}

void
qmp_client_set_max_message (QmpClient *self, gsize max_message)
{
  qmp_channel_set_max_line (self->channel, max_message);
}

guint
qmp_client_version (QmpClient *self)
{
  return self->version;
}

void
qmp_client_set_cancellable (QmpClient *self, GCancellable *cancellable)
{
  qmp_channel_set_cancellable (self->channel, cancellable);
}

/* ---- plain calls ---- */

JsonNode *
qmp_client_execute_with_fds (QmpClient *self, const char *command,
                             JsonObject *arguments, const int *fds, guint n_fds,
                             guint timeout_ms, GError **error)
{
  gint64 deadline_us = deadline_in (timeout_ms);
  g_autoptr (QmpCall) call =
      qmp_call_start (self, command, arguments, fds, n_fds, error);

  if (call == NULL)
    return NULL;
  while (!call->done)
    if (!qmp_channel_run (self->channel, deadline_us, error)) {
      g_prefix_error (error, "%s: ", command);
      return NULL;
    }
  return qmp_call_take (call, error);
}

JsonNode *
qmp_client_execute (QmpClient *self, const char *command, JsonObject *arguments,
                    guint timeout_ms, GError **error)
{
  return qmp_client_execute_with_fds (self, command, arguments, NULL, 0,
                                      timeout_ms, error);
}

/* ---- events ---- */

/* The "data" of the first that matches, which is taken out; or NULL. */
static JsonObject *
take_event (QmpClient *self, QmpEventFunc matches, gpointer user_data)
{
  for (GList *at = self->events.head; at != NULL; at = at->next) {
    JsonObject *object = ((Event *) at->data)->object;
    JsonObject *data = qmp_json_object (object, "data");

    if (!matches (qmp_json_string (object, "event"), data, user_data))
      continue;
    data = data == NULL ? json_object_new () : json_object_ref (data);
    event_free (drop_event (self, at));
    return data;
  }
  return NULL;
}

JsonObject *
qmp_client_wait (QmpClient *self, QmpEventFunc matches, gpointer user_data,
                 guint timeout_ms, GError **error)
{
  gint64 deadline_us = deadline_in (timeout_ms);

  for (;;) {
    JsonObject *data = take_event (self, matches, user_data);

    if (data != NULL)
      return data;
    if (!qmp_channel_run (self->channel, deadline_us, error)) {
      g_prefix_error (error, "waiting for an event: ");
      return NULL;
    }
  }
}

void
qmp_client_forget_events (QmpClient *self)
{
  while (self->events.head != NULL)
    event_free (drop_event (self, self->events.head));
}
