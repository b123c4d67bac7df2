/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/qmp-assert.h"

char *
qmp_text_of (JsonNode *node)
{
  g_autoptr (JsonNode) owned = node;

  return owned == NULL ? NULL : json_to_string (owned, FALSE);
}

void
qmp_assert_answer (QmpClient *client, const char *command, const char *value)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text =
      qmp_text_of (qmp_client_execute (client, command, NULL, LONG_MS, &error));

  g_assert_no_error (error);
  g_assert_cmpstr (text, ==, value);
}

void
qmp_assert_failure (QmpClient *client, const char *command, guint timeout_ms,
                    int code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (
      qmp_client_execute (client, command, NULL, timeout_ms, &error));
  g_assert_error (error, QMP_ERROR, code);
  g_assert_true (g_str_has_prefix (error->message, command));
}

gboolean
qmp_event_is_named (const char *name, JsonObject *data, gpointer user_data)
{
  return g_str_equal (name, user_data);
}

void
qmp_assert_event (QmpClient *client, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) data = qmp_client_wait (
      client, qmp_event_is_named, (gpointer) name, LONG_MS, &error);

  g_assert_no_error (error);
}

QmpClient *
qmp_start_client (QmpScript script, QmpPeer **peer)
{
  QmpClient *client;
  int fd;

  *peer = qmp_peer_start (script, &fd);
  client = qmp_client_adopt (fd);
  qmp_assert_answer (client, "hello", "{}");
  return client;
}
