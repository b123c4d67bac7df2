/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/client.h"
#include "tests/unit/qmp-assert.h"

/* ---- connecting ---- */

static void
greet_in_pieces (QmpPeer *peer)
{
  qmp_peer_say (peer, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, \"mi");
  g_usleep (1000);
  qmp_peer_say (peer, "nor\": 10, \"major\": 9}}, \"capabilities\": []}}\r");
  g_usleep (1000);
  qmp_peer_say (peer, "\n");
  qmp_peer_serve (peer, "qmp_capabilities", "{}");
  qmp_peer_serve (peer, "query-status", "{\"status\":\"running\"}");
}

static void
test_a_greeting_may_come_in_pieces (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (greet_in_pieces);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpClient) client =
      qmp_client_connect (qmp_peer_path (peer), LONG_MS, NULL, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (qmp_client_version (client), ==, 91001);
  qmp_assert_answer (client, "query-status", "{\"status\":\"running\"}");
}

static void
assert_no_connection (const char *path, guint greeting_ms, int code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (qmp_client_connect (path, greeting_ms, NULL, &error));
  g_assert_error (error, QMP_ERROR, code);
  g_assert_true (g_str_has_prefix (error->message, path));
}

static void
test_a_monitor_that_is_silent_is_busy (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (qmp_peer_await_end);

  assert_no_connection (qmp_peer_path (peer), SHORT_MS, QMP_ERROR_BUSY);
}

static void
say_hello (QmpPeer *peer)
{
  qmp_peer_say (peer, "QEMU 7.2.22 monitor - type 'help'\r\n(qemu) ");
  qmp_peer_await_end (peer);
}

static void
test_a_monitor_for_people_is_none (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (say_hello);

  assert_no_connection (qmp_peer_path (peer), LONG_MS, QMP_ERROR_PROTOCOL);
}

static void
close_at_once (QmpPeer *peer)
{
}

static void
test_where_nobody_listens_it_is_gone (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (close_at_once);

  assert_no_connection (qmp_peer_path (peer), LONG_MS, QMP_ERROR_GONE);
  assert_no_connection ("/nonexistent/socket", LONG_MS, QMP_ERROR_GONE);
}

static void
test_where_nobody_may_connect_it_is_not_gone (void)
{
  g_autofree char *name = g_strnfill (200, 'a');

  assert_no_connection (name, LONG_MS, QMP_ERROR_PROTOCOL);
  assert_no_connection ("/dev/null/socket", LONG_MS, QMP_ERROR_PROTOCOL);
}

/* ---- answers ---- */

static void
answer_byte_by_byte (QmpPeer *peer)
{
  g_autofree char *text = NULL;
  const char *id;

  qmp_peer_serve (peer, "hello", "{}");
  id = qmp_peer_hear_command (peer, "long");
  text = g_strdup_printf ("\r\n{\"return\": \"a\\u00e9\", \"id\": \"%s\"}\r\n",
                          id);
  for (const char *at = text; *at != '\0'; at++) {
    qmp_peer_say_bytes (peer, at, 1);
    g_usleep (200);
  }
}

static void
test_an_answer_may_come_byte_by_byte (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_byte_by_byte, &peer);

  qmp_assert_answer (client, "long", "\"a\xc3\xa9\"");
}

static void
answer_amid_events (QmpPeer *peer)
{
  const char *id;

  qmp_peer_serve (peer, "hello", "{}");
  id = qmp_peer_hear_command (peer, "stop");
  qmp_peer_say (peer,
                "{\"event\":\"A\"}\r\n{\"event\":\"STOP\",\"data\":{\"n\":1}}"
                "\r\n{\"return\":{},\"id\":\"%s\"}\r\n{\"event\":\"STOP\","
                "\"data\":{\"n\":2}}\r\n",
                id);
  qmp_peer_serve (peer, "next", "1");
}

static gboolean
is_second_stop (const char *name, JsonObject *data, gpointer user_data)
{
  return g_str_equal (name, "STOP")
         && json_object_get_int_member (data, "n") == 2;
}

static void
test_events_are_kept_around_answers (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_amid_events, &peer);
  g_autoptr (JsonObject) data = NULL;

  qmp_assert_answer (client, "stop", "{}");
  data = qmp_client_wait (client, is_second_stop, NULL, LONG_MS, NULL);
  g_assert_nonnull (data);
  qmp_assert_event (client, "STOP");
  qmp_assert_event (client, "A");
  qmp_assert_answer (client, "next", "1");
  g_assert_null (qmp_client_wait (client, qmp_event_is_named, (gpointer) "STOP",
                                  SHORT_MS, NULL));
}

static void
flood (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "events");
  for (int i = 0; i < QMP_MAX_EVENTS + 10; i++)
    qmp_peer_say (peer, "{\"event\":\"E%d\"}\n", i);
  qmp_peer_serve (peer, "next", "{}");
  qmp_peer_await_end (peer);
}

static void
test_events_are_not_kept_without_end (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (flood, &peer);

  qmp_assert_failure (client, "events", SHORT_MS, QMP_ERROR_TIMEOUT);
  qmp_assert_answer (client, "next", "{}");
  g_assert_null (qmp_client_wait (client, qmp_event_is_named, (gpointer) "E9",
                                  SHORT_MS, NULL));
  qmp_assert_event (client, "E10");
  qmp_client_forget_events (client);
  g_assert_null (qmp_client_wait (client, qmp_event_is_named, (gpointer) "E11",
                                  SHORT_MS, NULL));
}

static void
answer_late (QmpPeer *peer)
{
  g_autofree char *late = NULL;
  const char *id;

  qmp_peer_serve (peer, "hello", "{}");
  late = g_strdup (qmp_peer_hear_command (peer, "slow"));
  id = qmp_peer_hear_command (peer, "next");
  qmp_peer_say (peer, "{\"return\":\"late\",\"id\":\"%s\"}\n", late);
  qmp_peer_say (peer, "{\"return\":\"right\",\"id\":\"%s\"}\n", id);
}

static void
test_a_late_answer_is_dropped (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_late, &peer);

  qmp_assert_failure (client, "slow", SHORT_MS, QMP_ERROR_TIMEOUT);
  qmp_assert_answer (client, "next", "\"right\"");
}

static void
answer_with_errors (QmpPeer *peer)
{
  static const char *const classes[] = { "CommandNotFound", "DeviceNotActive",
                                         "GenericError", "Unheard" };

  qmp_peer_serve (peer, "hello", "{}");
  for (gsize i = 0; i < G_N_ELEMENTS (classes); i++) {
    const char *id = qmp_peer_hear_command (peer, "try");

    qmp_peer_say (peer,
                  "{\"error\":{\"class\":\"%s\",\"desc\":\"no\"},\"id\":\"%s\"}"
                  "\r\n",
                  classes[i], id);
  }
}

static void
test_errors_have_codes (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_with_errors, &peer);

  qmp_assert_failure (client, "try", LONG_MS, QMP_ERROR_NO_COMMAND);
  qmp_assert_failure (client, "try", LONG_MS, QMP_ERROR_NOT_ACTIVE);
  qmp_assert_failure (client, "try", LONG_MS, QMP_ERROR_COMMAND);
  qmp_assert_failure (client, "try", LONG_MS, QMP_ERROR_COMMAND);
}

static void
answer_others_first (QmpPeer *peer)
{
  const char *id;

  qmp_peer_serve (peer, "hello", "{}");
  id = qmp_peer_hear_command (peer, "try");
  qmp_peer_say (peer, "{\"return\":1}\n{\"return\":2,\"id\":7}\n"
                      "{\"return\":3,\"id\":null}\n{\"return\":4,\"id\":{}}\n"
                      "{\"error\":{},\"id\":[]}\n{\"return\":5,\"id\":\"x\"}\n"
                      "{\"QMP\":{}}\n");
  qmp_peer_say (peer, "{\"return\":6,\"id\":\"%s\"}\n", id);
  qmp_peer_hear_command (peer, "unreadable");
  qmp_peer_say (peer, "{\"error\":{\"desc\":\"JSON parse error\"}}\n");
  qmp_peer_await_end (peer);
}

static void
test_only_our_ids_count (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_others_first, &peer);

  qmp_assert_answer (client, "try", "6");
  qmp_assert_failure (client, "unreadable", LONG_MS, QMP_ERROR_COMMAND);
}

/* ---- the end ---- */

static void
answer_at_length (QmpPeer *peer)
{
  g_autofree char *text = g_strnfill (2000, 'x');

  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "long");
  qmp_peer_say (peer, "{\"event\":\"%s\"}\n", text);
  qmp_peer_await_end (peer);
}

static void
test_a_message_has_an_end (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_at_length, &peer);

  qmp_client_set_max_message (client, 1000);
  qmp_assert_failure (client, "long", LONG_MS, QMP_ERROR_PROTOCOL);
  qmp_assert_failure (client, "after", LONG_MS, QMP_ERROR_PROTOCOL);
  g_assert_true (qmp_client_is_gone (client));
}

static void
answer_without_end (QmpPeer *peer)
{
  g_autofree char *text = g_strnfill (2000, 'x');

  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "long");
  qmp_peer_say (peer, "{\"event\":\"%s", text);
  qmp_peer_await_end (peer);
}

static void
test_a_line_without_end_is_refused (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_without_end, &peer);

  qmp_client_set_max_message (client, 1000);
  qmp_assert_failure (client, "long", LONG_MS, QMP_ERROR_PROTOCOL);
}

static void
answer_nonsense (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "try");
  qmp_peer_say (peer, "nonsense\n");
  qmp_peer_await_end (peer);
}

static void
test_nonsense_is_the_end (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_nonsense, &peer);

  qmp_assert_failure (client, "try", LONG_MS, QMP_ERROR_PROTOCOL);
}

static void
answer_and_leave (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_serve (peer, "quit", "{}");
}

static void
test_what_is_said_before_leaving_is_heard (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (answer_and_leave, &peer);

  qmp_assert_answer (client, "quit", "{}");
  qmp_assert_failure (client, "next", LONG_MS, QMP_ERROR_GONE);
  qmp_assert_failure (client, "next", LONG_MS, QMP_ERROR_GONE);
  g_assert_true (qmp_client_is_gone (client));
}

static void
leave_in_the_middle (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "try");
  qmp_peer_say (peer, "{\"return\": ");
}

static void
test_a_peer_may_leave_in_the_middle (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (leave_in_the_middle, &peer);
  g_autoptr (GError) error = NULL;

  g_assert_false (qmp_client_is_gone (client));
  qmp_assert_failure (client, "try", LONG_MS, QMP_ERROR_GONE);
  g_assert_null (qmp_client_wait (client, qmp_event_is_named, (gpointer) "STOP",
                                  LONG_MS, &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_GONE);
}

static void
say_nothing_more (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "try");
  qmp_peer_serve (peer, "last", "{}");
}

static gpointer
cancel_soon (gpointer cancellable)
{
  g_usleep (SHORT_MS * 1000);
  g_cancellable_cancel (cancellable);
  return NULL;
}

static void
test_another_thread_may_cancel (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = qmp_start_client (say_nothing_more, &peer);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  GThread *thread = g_thread_new ("cancel", cancel_soon, cancellable);

  qmp_client_set_cancellable (client, cancellable);
  qmp_assert_failure (client, "try", LONG_MS, QMP_ERROR_CANCELLED);
  qmp_assert_failure (client, "never-sent", LONG_MS, QMP_ERROR_CANCELLED);
  g_thread_join (thread);
  qmp_client_set_cancellable (client, NULL);
  qmp_assert_answer (client, "last", "{}");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/qmp/client/" name, func)
  ADD ("a-greeting-may-come-in-pieces", test_a_greeting_may_come_in_pieces);
  ADD ("a-monitor-that-is-silent-is-busy",
       test_a_monitor_that_is_silent_is_busy);
  ADD ("a-monitor-for-people-is-none", test_a_monitor_for_people_is_none);
  ADD ("where-nobody-listens-it-is-gone", test_where_nobody_listens_it_is_gone);
  ADD ("where-nobody-may-connect-it-is-not-gone",
       test_where_nobody_may_connect_it_is_not_gone);
  ADD ("an-answer-may-come-byte-by-byte", test_an_answer_may_come_byte_by_byte);
  ADD ("events-are-kept-around-answers", test_events_are_kept_around_answers);
  ADD ("events-are-not-kept-without-end", test_events_are_not_kept_without_end);
  ADD ("a-late-answer-is-dropped", test_a_late_answer_is_dropped);
  ADD ("errors-have-codes", test_errors_have_codes);
  ADD ("only-our-ids-count", test_only_our_ids_count);
  ADD ("a-message-has-an-end", test_a_message_has_an_end);
  ADD ("a-line-without-end-is-refused", test_a_line_without_end_is_refused);
  ADD ("nonsense-is-the-end", test_nonsense_is_the_end);
  ADD ("what-is-said-before-leaving-is-heard",
       test_what_is_said_before_leaving_is_heard);
  ADD ("a-peer-may-leave-in-the-middle", test_a_peer_may_leave_in_the_middle);
  ADD ("another-thread-may-cancel", test_another_thread_may_cancel);
#undef ADD
  return g_test_run ();
}
