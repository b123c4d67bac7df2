/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "qmp/client.h"
#include "tests/unit/qmp-peer.h"

static char *
text_of (JsonNode *node)
{
  g_autoptr (JsonNode) owned = node;

  return owned == NULL ? NULL : json_to_string (owned, FALSE);
}

static void
assert_answer (QmpClient *client, const char *command, const char *value)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text =
      text_of (qmp_client_execute (client, command, NULL, LONG_MS, &error));

  g_assert_no_error (error);
  g_assert_cmpstr (text, ==, value);
}

static void
assert_failure (QmpClient *client, const char *command, guint timeout_ms,
                int code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (
      qmp_client_execute (client, command, NULL, timeout_ms, &error));
  g_assert_error (error, QMP_ERROR, code);
  g_assert_true (g_str_has_prefix (error->message, command));
}

static gboolean
is_named (const char *name, JsonObject *data, gpointer user_data)
{
  return g_str_equal (name, user_data);
}

static void
assert_event (QmpClient *client, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) data =
      qmp_client_wait (client, is_named, (gpointer) name, LONG_MS, &error);

  g_assert_no_error (error);
}

/* A client whose peer has answered once, so that it takes things as they
   should be. */
static QmpClient *
start (QmpScript script, QmpPeer **peer)
{
  QmpClient *client;
  int fd;

  *peer = qmp_peer_start (script, &fd);
  client = qmp_client_adopt (fd);
  assert_answer (client, "hello", "{}");
  return client;
}

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
  assert_answer (client, "query-status", "{\"status\":\"running\"}");
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
  g_autoptr (QmpClient) client = start (answer_byte_by_byte, &peer);

  assert_answer (client, "long", "\"a\xc3\xa9\"");
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
  g_autoptr (QmpClient) client = start (answer_amid_events, &peer);
  g_autoptr (JsonObject) data = NULL;

  assert_answer (client, "stop", "{}");
  data = qmp_client_wait (client, is_second_stop, NULL, LONG_MS, NULL);
  g_assert_nonnull (data);
  assert_event (client, "STOP");
  assert_event (client, "A");
  assert_answer (client, "next", "1");
  g_assert_null (
      qmp_client_wait (client, is_named, (gpointer) "STOP", SHORT_MS, NULL));
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
  g_autoptr (QmpClient) client = start (flood, &peer);

  assert_failure (client, "events", SHORT_MS, QMP_ERROR_TIMEOUT);
  assert_answer (client, "next", "{}");
  g_assert_null (
      qmp_client_wait (client, is_named, (gpointer) "E9", SHORT_MS, NULL));
  assert_event (client, "E10");
  qmp_client_forget_events (client);
  g_assert_null (
      qmp_client_wait (client, is_named, (gpointer) "E11", SHORT_MS, NULL));
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
  g_autoptr (QmpClient) client = start (answer_late, &peer);

  assert_failure (client, "slow", SHORT_MS, QMP_ERROR_TIMEOUT);
  assert_answer (client, "next", "\"right\"");
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
  g_autoptr (QmpClient) client = start (answer_with_errors, &peer);

  assert_failure (client, "try", LONG_MS, QMP_ERROR_NO_COMMAND);
  assert_failure (client, "try", LONG_MS, QMP_ERROR_NOT_ACTIVE);
  assert_failure (client, "try", LONG_MS, QMP_ERROR_COMMAND);
  assert_failure (client, "try", LONG_MS, QMP_ERROR_COMMAND);
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
  g_autoptr (QmpClient) client = start (answer_others_first, &peer);

  assert_answer (client, "try", "6");
  assert_failure (client, "unreadable", LONG_MS, QMP_ERROR_COMMAND);
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
  g_autoptr (QmpClient) client = start (answer_at_length, &peer);

  qmp_client_set_max_message (client, 1000);
  assert_failure (client, "long", LONG_MS, QMP_ERROR_PROTOCOL);
  assert_failure (client, "after", LONG_MS, QMP_ERROR_PROTOCOL);
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
  g_autoptr (QmpClient) client = start (answer_without_end, &peer);

  qmp_client_set_max_message (client, 1000);
  assert_failure (client, "long", LONG_MS, QMP_ERROR_PROTOCOL);
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
  g_autoptr (QmpClient) client = start (answer_nonsense, &peer);

  assert_failure (client, "try", LONG_MS, QMP_ERROR_PROTOCOL);
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
  g_autoptr (QmpClient) client = start (answer_and_leave, &peer);

  assert_answer (client, "quit", "{}");
  assert_failure (client, "next", LONG_MS, QMP_ERROR_GONE);
  assert_failure (client, "next", LONG_MS, QMP_ERROR_GONE);
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
  g_autoptr (QmpClient) client = start (leave_in_the_middle, &peer);
  g_autoptr (GError) error = NULL;

  g_assert_false (qmp_client_is_gone (client));
  assert_failure (client, "try", LONG_MS, QMP_ERROR_GONE);
  g_assert_null (
      qmp_client_wait (client, is_named, (gpointer) "STOP", LONG_MS, &error));
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
  g_autoptr (QmpClient) client = start (say_nothing_more, &peer);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  GThread *thread = g_thread_new ("cancel", cancel_soon, cancellable);

  qmp_client_set_cancellable (client, cancellable);
  assert_failure (client, "try", LONG_MS, QMP_ERROR_CANCELLED);
  assert_failure (client, "never-sent", LONG_MS, QMP_ERROR_CANCELLED);
  qmp_client_set_cancellable (client, NULL);
  assert_answer (client, "last", "{}");
  g_thread_join (thread);
}

/* ---- descriptors ---- */

static void
take_fd (QmpPeer *peer)
{
  char text[4] = "";
  int fd;

  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_serve (peer, "getfd", "{}");
  fd = qmp_peer_take_fd (peer);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (read (fd, text, 3), ==, 3);
  g_assert_cmpstr (text, ==, "abc");
  close (fd);
  qmp_peer_serve (peer, "next", "{}");
  g_assert_cmpint (qmp_peer_take_fd (peer), ==, -1);
}

static void
test_a_descriptor_goes_along (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = start (take_fd, &peer);
  g_autoptr (JsonNode) answer = NULL;
  int fds[2];

  g_assert_cmpint (pipe (fds), ==, 0);
  g_assert_cmpint (write (fds[1], "abc", 3), ==, 3);
  answer = qmp_client_execute_with_fds (client, "getfd", NULL, fds, 1, LONG_MS,
                                        NULL);
  g_assert_nonnull (answer);
  close (fds[0]);
  close (fds[1]);
  assert_answer (client, "next", "{}");
}

static void
read_slowly (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  g_usleep (SHORT_MS * 1000);
  qmp_peer_serve (peer, "long", "{}");
  g_assert_cmpint (qmp_peer_take_fd (peer), >=, 0);
}

/* More than a socket takes at once. */
static void
test_a_long_command_goes_in_parts (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = start (read_slowly, &peer);
  g_autofree char *text = g_strnfill (4000000, 'x');
  g_autoptr (GError) error = NULL;
  JsonObject *arguments = json_object_new ();
  g_autoptr (JsonNode) answer = NULL;
  int fd = 1;

  json_object_set_string_member (arguments, "text", text);
  answer = qmp_client_execute_with_fds (client, "long", arguments, &fd, 1,
                                        LONG_MS, &error);
  g_assert_no_error (error);
}

/* ---- taking over ---- */

static void
be_taken_over (QmpPeer *peer)
{
  qmp_peer_say (peer, "rn\": {\"status\": \"running\"}, \"id\": \"old-1\"}\r\n"
                      "{\"event\": \"OLD\"}\r\n{\"ret");
  qmp_peer_hear (peer);
  qmp_peer_say (peer, "urn\": {}, \"id\": \"old-2\"}\r\n"
                      "{\"error\": {\"desc\": \"JSON parse error\"}}\r\n");
  g_assert_cmpint (qmp_peer_hear (peer)[0], ==, '\xff');
  qmp_peer_say (peer, "{\"error\": {\"desc\": \"JSON parse error\"}}\r\n"
                      "{\"event\": \"NEW\"}\r\n");
  qmp_peer_serve (peer, "second", "2");
  qmp_peer_await_end (peer);
}

static void
test_a_line_may_be_taken_over_in_its_middle (void)
{
  int fd;
  g_autoptr (QmpPeer) peer = qmp_peer_start (be_taken_over, &fd);
  g_autoptr (QmpClient) client = NULL;
  char byte;

  g_assert_cmpint (read (fd, &byte, 1), ==, 1);
  g_assert_cmpint (write (fd, "half\n", 5), ==, 5);
  client = qmp_client_adopt (fd);
  assert_failure (client, "first", SHORT_MS, QMP_ERROR_TIMEOUT);
  assert_answer (client, "second", "2");
  assert_event (client, "NEW");
}

static void
go_on (QmpPeer *peer)
{
  qmp_peer_serve (peer, "hello", "{}");
  qmp_peer_hear_command (peer, "unanswered");
  qmp_peer_say (peer, "{\"return\": {}, \"id\": \"");
  qmp_peer_hear_command (peer, "by-another");
  qmp_peer_say (peer, "x\"}\r\n");
  g_assert_nonnull (qmp_peer_hear_command (peer, "resumed"));
  qmp_peer_say (peer, "{\"return\": {}, \"id\": \"another\"}\n");
  qmp_peer_serve (peer, "again", "{}");
}

static void
test_a_client_goes_on_after_another (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpClient) client = start (go_on, &peer);
  const char text[] = "{\"execute\":\"by-another\"}\n";
  char byte;

  assert_failure (client, "unanswered", SHORT_MS, QMP_ERROR_TIMEOUT);
  g_assert_cmpint (write (qmp_client_fd (client), text, sizeof text - 1), >, 0);
  while (read (qmp_client_fd (client), &byte, 1) < 0)
    g_usleep (1000);
  qmp_client_resume (client);
  assert_failure (client, "resumed", SHORT_MS, QMP_ERROR_TIMEOUT);
  assert_answer (client, "again", "{}");
}

/* ---- without waiting ---- */

typedef struct {
  QmpClient *client;
  GString *heard;
} Listener;

static void
note (GObject *source, GAsyncResult *result, gpointer user_data)
{
  Listener *listener = user_data;
  g_autoptr (GError) error = NULL;
  g_autofree char *text =
      text_of (qmp_client_execute_finish (listener->client, result, &error));

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
  g_autoptr (QmpClient) client = start (answer_in_reverse, &peer);
  g_autoptr (GString) heard = g_string_new (NULL);
  Listener listener = { client, heard };

  qmp_client_execute_async (client, "first", NULL, LONG_MS, NULL, note,
                            &listener);
  qmp_client_execute_async (client, "second", NULL, LONG_MS, NULL, note,
                            &listener);
  assert_answer (client, "third", "3");
  while (heard->len < 2)
    g_main_context_iteration (qmp_client_context (client), TRUE);
  g_assert_cmpstr (heard->str, ==, "21");
}

static void
ask_more (GObject *source, GAsyncResult *result, gpointer user_data)
{
  Listener *listener = user_data;

  note (source, result, user_data);
  assert_answer (listener->client, "second", "2");
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
  g_autoptr (QmpClient) client = start (answer_two, &peer);
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
  QmpClient *client = start (hear_three, &peer);
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
  ADD ("a-descriptor-goes-along", test_a_descriptor_goes_along);
  ADD ("a-long-command-goes-in-parts", test_a_long_command_goes_in_parts);
  ADD ("a-line-may-be-taken-over-in-its-middle",
       test_a_line_may_be_taken_over_in_its_middle);
  ADD ("a-client-goes-on-after-another", test_a_client_goes_on_after_another);
  ADD ("several-may-be-under-way", test_several_may_be_under_way);
  ADD ("a-callback-may-use-the-client", test_a_callback_may_use_the_client);
  ADD ("every-callback-runs-once", test_every_callback_runs_once);
#undef ADD
  return g_test_run ();
}
