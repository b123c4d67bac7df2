/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands that nobody waits for in place.
 */
#include "config.h"

#include "qmp/client.h"
#include "tests/unit/qmp-assert.h"

typedef struct {
  QmpClient *client;
  GString *heard;
} Listener;

static void
note (GObject *source, GAsyncResult *result, gpointer user_data)
{
  Listener *listener = user_data;
  g_autoptr (GError) error = NULL;
  g_autofree char *text = qmp_text_of (
      qmp_client_execute_finish (listener->client, result, &error));

  if (error == NULL)
    g_string_append (listener->heard, text);
  else
    g_string_append_printf (listener->heard, "e%d", error->code);
}

static void
answer_in_reverse (QmpPeer *peer)
{
  g_autofree char *first = NULL;
  const char *second;

  qmp_peer_serve (peer, "hello", "{}");
  first = g_strdup (qmp_peer_hear_command (peer, "first"));
  second = qmp_peer_hear_command (peer, "second");
  qmp_peer_say (peer, "{\"return\":2,\"id\":\"%s\"}\n", second);
  qmp_peer_say (peer, "{\"return\":1,\"id\":\"%s\"}\n", first);
  qmp_peer_serve (peer, "third", "3");
  qmp_peer_await_end (peer);
}

static void
test_several_may_be_under_way (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_in_reverse, &peer);
  g_autoptr (GString) heard = g_string_new (NULL);
  Listener listener = { client, heard };

  qmp_client_execute_async (client, "first", NULL, LONG_MS, NULL, note,
                            &listener);
  qmp_client_execute_async (client, "second", NULL, LONG_MS, NULL, note,
                            &listener);
  qmp_assert_answer (client, "third", "3");
  while (heard->len < 2)
    g_main_context_iteration (qmp_client_context (client), TRUE);
  g_assert_cmpstr (heard->str, ==, "21");
}

static void
ask_more (GObject *source, GAsyncResult *result, gpointer user_data)
{
  Listener *listener = user_data;

  note (source, result, user_data);
  qmp_assert_answer (listener->client, "second", "2");
  g_string_append (listener->heard, "2");
}

static void
answer_two (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_serve (peer, "first", "1");
  qmp_peer_serve (peer, "second", "2");
}

static void
test_a_callback_may_use_the_client (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_two, &peer);
  g_autoptr (GString) heard = g_string_new (NULL);
  Listener listener = { client, heard };

  qmp_client_execute_async (client, "first", NULL, LONG_MS, NULL, ask_more,
                            &listener);
  while (heard->len < 2)
    g_main_context_iteration (qmp_client_context (client), TRUE);
  g_assert_cmpstr (heard->str, ==, "12");
}

static void
hear_three (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "late");
  qmp_peer_hear_command (peer, "cancelled");
  qmp_peer_hear_command (peer, "closed");
  qmp_peer_await_end (peer);
}

static void
test_every_callback_runs_once (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  QmpClient *client = qmp_start_client (hear_three, &peer);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GString) heard = g_string_new (NULL);
  g_autoptr (GString) expected = g_string_new (NULL);
  Listener listener = { client, heard };

  qmp_client_execute_async (client, "late", NULL, SHORT_MS, NULL, note,
                            &listener);
  while (heard->len < 2)
    g_main_context_iteration (qmp_client_context (client), TRUE);
  qmp_client_execute_async (client, "cancelled", NULL, LONG_MS, cancellable,
                            note, &listener);
  g_cancellable_cancel (cancellable);
  while (heard->len < 4)
    g_main_context_iteration (qmp_client_context (client), TRUE);
  qmp_client_execute_async (client, "closed", NULL, LONG_MS, NULL, note,
                            &listener);
  qmp_client_close (client);
  g_string_printf (expected, "e%de%de%d", QMP_ERROR_TIMEOUT,
                   QMP_ERROR_CANCELLED, QMP_ERROR_CANCELLED);
  g_assert_cmpstr (heard->str, ==, expected->str);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/qmp/async/" name, func)
  ADD ("several-may-be-under-way", test_several_may_be_under_way);
  ADD ("a-callback-may-use-the-client", test_a_callback_may_use_the_client);
  ADD ("every-callback-runs-once", test_every_callback_runs_once);
#undef ADD
  return g_test_run ();
}
