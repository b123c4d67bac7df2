/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/guest.h"

#include <string.h>

#include "qmp/json.h"

typedef struct {
  QmpGuest base;
  QmpClient *client;      /* both borrowed, */
  QmpAgent *agent;        /* either may be NULL */
  gboolean counts_resets; /* those that happened before are forgotten */
  gboolean was_reset;
} SocketGuest;

/* ---- through the monitor ---- */

static JsonNode *
guest_execute (QmpGuest *base, const char *command, JsonObject *arguments,
               guint timeout_ms, GError **error)
{
  SocketGuest *self = (SocketGuest *) base;

  if (self->client != NULL)
    return qmp_client_execute (self->client, command, arguments, timeout_ms,
                               error);
  g_clear_pointer (&arguments, json_object_unref);
  qmp_error_set (error, QMP_ERROR_GONE, "%s: there is no monitor", command);
  return NULL;
}

static gboolean
guest_run (QmpGuest *base, const char *command, guint timeout_ms,
           GError **error)
{
  g_autoptr (JsonNode) nothing =
      guest_execute (base, command, NULL, timeout_ms, error);

  return nothing != NULL;
}

static gboolean
guest_stop (QmpGuest *base, guint timeout_ms, GError **error)
{
  return guest_run (base, "stop", timeout_ms, error);
}

static gboolean
guest_cont (QmpGuest *base, guint timeout_ms, GError **error)
{
  return guest_run (base, "cont", timeout_ms, error);
}

/* A guest that is reset while it stands still is "prelaunch", as before its
   first start. */
static QmpGuestState
parse_state (const char *status)
{
  if (g_str_equal (status, "running"))
    return QMP_GUEST_RUNNING;
  if (g_str_equal (status, "paused") || g_str_equal (status, "prelaunch"))
    return QMP_GUEST_PAUSED;
  if (g_str_equal (status, "shutdown"))
    return QMP_GUEST_OFF;
  return QMP_GUEST_HALTED;
}

static gboolean
guest_state (QmpGuest *base, guint timeout_ms, QmpGuestState *state,
             GError **error)
{
  g_autoptr (JsonNode) answer =
      guest_execute (base, "query-status", NULL, timeout_ms, error);
  JsonObject *object = qmp_json_as_object (answer);
  const char *status =
      object == NULL ? NULL : qmp_json_string (object, "status");

  if (answer == NULL)
    return FALSE;
  if (status == NULL)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "query-status: an answer without a status");
  *state = parse_state (status);
  return TRUE;
}

static gboolean
is_reset (const char *name, JsonObject *data, gpointer user_data)
{
  return strcmp (name, "RESET") == 0;
}

/* As far as was told until now. */
static gboolean
guest_was_reset (QmpGuest *base)
{
  SocketGuest *self = (SocketGuest *) base;
  g_autoptr (JsonObject) data = NULL;

  if (!self->was_reset && self->counts_resets) {
    data = qmp_client_wait (self->client, is_reset, NULL, 0, NULL);
    self->was_reset = data != NULL;
  }
  return self->was_reset;
}

/* ---- through the agent ---- */

static JsonNode *
ask_agent (QmpGuest *base, const char *command, guint timeout_ms,
           GError **error)
{
  SocketGuest *self = (SocketGuest *) base;

  if (self->agent != NULL)
    return qmp_agent_execute (self->agent, command, NULL, timeout_ms, error);
  qmp_error_set (error, QMP_ERROR_GONE, "%s: there is no guest agent", command);
  return NULL;
}

/* From here on a reset counts.  Not one before the freeze was answered: the
   agent that answers, or will, may be that of the guest that boots.  What was
   told before the answer to a query was told before. */
static void
count_resets (SocketGuest *self, guint timeout_ms)
{
  self->was_reset = FALSE;
  self->counts_resets =
      guest_run (&self->base, "query-status", timeout_ms, NULL);
  if (self->counts_resets)
    qmp_client_forget_events (self->client);
}

static gboolean
guest_freeze (QmpGuest *base, guint timeout_ms, guint *n_frozen, GError **error)
{
  g_autoptr (JsonNode) answer =
      ask_agent (base, "guest-fsfreeze-freeze", timeout_ms, error);
  gint64 n = -1;

  if (answer == NULL)
    return FALSE;
  if (json_node_get_value_type (answer) == G_TYPE_INT64)
    n = json_node_get_int (answer);
  if (n < 0 || n > G_MAXINT)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "guest-fsfreeze-freeze: no number is returned");
  *n_frozen = (guint) n;
  count_resets ((SocketGuest *) base, timeout_ms);
  return TRUE;
}

static gboolean
guest_thaw (QmpGuest *base, guint timeout_ms, GError **error)
{
  g_autoptr (JsonNode) answer =
      ask_agent (base, "guest-fsfreeze-thaw", timeout_ms, error);

  return answer != NULL;
}

static gboolean
guest_is_frozen (QmpGuest *base, guint timeout_ms, gboolean *frozen,
                 GError **error)
{
  g_autoptr (JsonNode) answer =
      ask_agent (base, "guest-fsfreeze-status", timeout_ms, error);
  const char *status = NULL;

  if (answer == NULL)
    return FALSE;
  if (json_node_get_value_type (answer) == G_TYPE_STRING)
    status = json_node_get_string (answer);
  *frozen = g_strcmp0 (status, "frozen") == 0;
  if (*frozen || g_strcmp0 (status, "thawed") == 0)
    return TRUE;
  return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                        "guest-fsfreeze-status: neither frozen nor thawed");
}

/* ---- the guest ---- */

static void
guest_free (QmpGuest *base)
{
  g_free (base);
}

static const QmpGuestOps socket_ops = {
  .state = guest_state,
  .stop = guest_stop,
  .cont = guest_cont,
  .freeze = guest_freeze,
  .thaw = guest_thaw,
  .is_frozen = guest_is_frozen,
  .was_reset = guest_was_reset,
  .execute = guest_execute,
  .free = guest_free,
};

QmpGuest *
qmp_guest_new (QmpClient *client, QmpAgent *agent)
{
  SocketGuest *self = g_new0 (SocketGuest, 1);

  self->base.ops = &socket_ops;
  self->client = client;
  self->agent = agent;
  return &self->base;
}

void
qmp_guest_free (QmpGuest *self)
{
  self->ops->free (self);
}

gboolean
qmp_guest_was_reset (QmpGuest *self)
{
  return self->ops->was_reset != NULL && self->ops->was_reset (self);
}
