/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <sys/socket.h>
#include <unistd.h>

#include "qmp/agent.h"
#include "tests/unit/qmp-peer.h"

static void
assert_answer (QmpAgent *agent, const char *command, const char *value)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) answer =
      qmp_agent_execute (agent, command, NULL, LONG_MS, &error);
  g_autofree char *text = NULL;

  g_assert_no_error (error);
  text = json_to_string (answer, FALSE);
  g_assert_cmpstr (text, ==, value);
}

static void
assert_failure (QmpAgent *agent, const char *command, guint timeout_ms,
                int code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (qmp_agent_execute (agent, command, NULL, timeout_ms, &error));
  g_assert_error (error, QMP_ERROR, code);
  g_assert_true (g_str_has_prefix (error->message, command));
}

static QmpAgent *
start (QmpScript script, QmpPeer **peer)
{
  int fd;

  *peer = qmp_peer_start (script, &fd);
  return qmp_agent_adopt (fd);
}

static void
be_healthy (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-ping", "{\"return\": {}}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"thawed\"}\r");
}

static void
test_one_sync_is_enough (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (be_healthy, &peer);

  assert_answer (agent, "guest-ping", "{}");
  assert_answer (agent, "guest-fsfreeze-status", "\"thawed\"");
  assert_failure (agent, "guest-ping", LONG_MS, QMP_ERROR_GONE);
}

static void
answer_the_dead_first (QmpPeer *peer)
{
  qmp_peer_say (peer, "{\"return\": \"frozen\"}\n\xff{\"return\": 4711}\n"
                      "{\"error\": {\"class\": \"GenericError\"}}\n"
                      "{\"return\": 2}\n{\"ret\n\xff{\"return\": \"4711\"}\n"
                      "\xff{\"return\": 12}\n\xff\n{\"retu");
  qmp_peer_sync (peer); /* in the middle of that line */
  qmp_peer_serve_agent (peer, "guest-ping", "{\"return\": 1}");
}

static void
test_answers_to_the_dead_are_skipped (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (answer_the_dead_first, &peer);
  g_autoptr (GError) error = NULL;

  qmp_agent_sync (agent, LONG_MS, &error);
  g_assert_no_error (error);
  assert_answer (agent, "guest-ping", "1");
}

static void
be_in_sync_without_mark (QmpPeer *peer)
{
  const char *id = qmp_peer_hear_command (peer, "guest-sync-delimited");

  qmp_peer_say (peer, "{\"return\": %s}\n", id);
  qmp_peer_await_end (peer);
}

static void
test_a_sync_has_its_mark (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (be_in_sync_without_mark, &peer);
  g_autoptr (GError) error = NULL;

  g_assert_false (qmp_agent_sync (agent, SHORT_MS, &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_TIMEOUT);
}

static void
test_an_absent_agent_times_out (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (qmp_peer_await_end, &peer);

  assert_failure (agent, "guest-fsfreeze-freeze", SHORT_MS, QMP_ERROR_TIMEOUT);
}

static void
hear_syncs_only (QmpPeer *peer)
{
  for (int i = 0; i < 3; i++)
    qmp_peer_hear_command (peer, "guest-sync-delimited");
  qmp_peer_await_end (peer);
}

static void
test_nothing_is_sent_without_a_sync (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (hear_syncs_only, &peer);

  for (int i = 0; i < 3; i++)
    assert_failure (agent, "guest-fsfreeze-freeze", SHORT_MS,
                    QMP_ERROR_TIMEOUT);
}

static void
freeze_late (QmpPeer *peer)
{
  g_autofree char *first = NULL, *second = NULL;

  qmp_peer_sync (peer);
  qmp_peer_hear_command (peer, "guest-fsfreeze-freeze");
  first = g_strdup (qmp_peer_hear_command (peer, "guest-sync-delimited"));
  second = g_strdup (qmp_peer_hear_command (peer, "guest-sync-delimited"));
  qmp_peer_say (peer, "{\"return\": 2}\n\xff{\"return\": %s}\n", first);
  qmp_peer_say (peer, "\xff{\"return\": %s}\n", second);
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"frozen\"}");
}

static void
test_a_timeout_poisons_until_the_next_sync (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (freeze_late, &peer);

  g_assert_true (qmp_agent_sync (agent, LONG_MS, NULL));
  assert_failure (agent, "guest-fsfreeze-freeze", SHORT_MS, QMP_ERROR_TIMEOUT);
  assert_failure (agent, "guest-fsfreeze-status", SHORT_MS, QMP_ERROR_TIMEOUT);
  assert_answer (agent, "guest-fsfreeze-status", "\"frozen\"");
}

static void
say_unasked (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-ping",
                        "{\"return\": 1}\n{\"return\": \"thawed\"}");
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"frozen\"}");
}

static void
test_what_comes_unasked_is_no_answer (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (say_unasked, &peer);

  assert_answer (agent, "guest-ping", "1");
  assert_answer (agent, "guest-fsfreeze-status", "\"frozen\"");
}

static void
say_unasked_later (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-ping", "{\"return\": 1}");
  qmp_peer_sync (peer); /* which the test sends itself */
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"frozen\"}");
}

static void
test_what_has_come_meanwhile_is_no_answer (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (say_unasked_later, &peer);
  const char text[] =
      "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":1}}\n";
  char byte;

  assert_answer (agent, "guest-ping", "1");
  g_assert_cmpint (write (qmp_agent_fd (agent), text, sizeof text - 1), >, 0);
  while (recv (qmp_agent_fd (agent), &byte, 1, MSG_PEEK) < 0)
    g_usleep (1000);
  assert_answer (agent, "guest-fsfreeze-status", "\"frozen\"");
}

static void
answer_nonsense (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "first", "nonsense");
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "second", "{\"event\": \"E\"}");
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "third", "{\"return\": 3}");
}

static void
test_nonsense_poisons_too (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (answer_nonsense, &peer);

  assert_failure (agent, "first", LONG_MS, QMP_ERROR_PROTOCOL);
  assert_failure (agent, "second", LONG_MS, QMP_ERROR_PROTOCOL);
  assert_answer (agent, "third", "3");
}

static void
be_frozen (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-fsfreeze-freeze",
                        "{\"error\": {\"class\": \"CommandNotFound\", "
                        "\"desc\": \"in frozen state\"}}");
  qmp_peer_serve_agent (peer, "guest-exec",
                        "{\"error\": {\"class\": \"GenericError\"}}");
  qmp_peer_serve_agent (peer, "guest-ping", "{\"return\": {}}");
}

static void
test_a_refusal_does_not_poison (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (be_frozen, &peer);

  assert_failure (agent, "guest-fsfreeze-freeze", LONG_MS,
                  QMP_ERROR_NO_COMMAND);
  assert_failure (agent, "guest-exec", LONG_MS, QMP_ERROR_COMMAND);
  assert_answer (agent, "guest-ping", "{}");
}

static void
be_used_by_another (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-ping", "{\"return\": 1}");
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-ping", "{\"return\": 2}");
}

static void
test_a_client_goes_on_after_another (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (be_used_by_another, &peer);

  assert_answer (agent, "guest-ping", "1");
  qmp_agent_resume (agent);
  assert_answer (agent, "guest-ping", "2");
}

static void
test_it_can_be_cancelled (void)
{
  g_autoptr (QmpPeer) peer = NULL;
  g_autoptr (QmpAgent) agent = start (qmp_peer_await_end, &peer);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  qmp_agent_set_cancellable (agent, cancellable);
  g_cancellable_cancel (cancellable);
  assert_failure (agent, "guest-ping", LONG_MS, QMP_ERROR_CANCELLED);
}

static void
test_connects_to_a_name (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (be_healthy);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpAgent) agent = qmp_agent_connect (qmp_peer_path (peer), &error);

  g_assert_no_error (error);
  assert_answer (agent, "guest-ping", "{}");
  assert_answer (agent, "guest-fsfreeze-status", "\"thawed\"");
  g_assert_null (qmp_agent_connect ("/nonexistent/socket", &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_GONE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/qmp/agent/" name, func)
  ADD ("one-sync-is-enough", test_one_sync_is_enough);
  ADD ("answers-to-the-dead-are-skipped", test_answers_to_the_dead_are_skipped);
  ADD ("a-sync-has-its-mark", test_a_sync_has_its_mark);
  ADD ("an-absent-agent-times-out", test_an_absent_agent_times_out);
  ADD ("nothing-is-sent-without-a-sync", test_nothing_is_sent_without_a_sync);
  ADD ("a-timeout-poisons-until-the-next-sync",
       test_a_timeout_poisons_until_the_next_sync);
  ADD ("what-comes-unasked-is-no-answer", test_what_comes_unasked_is_no_answer);
  ADD ("what-has-come-meanwhile-is-no-answer",
       test_what_has_come_meanwhile_is_no_answer);
  ADD ("nonsense-poisons-too", test_nonsense_poisons_too);
  ADD ("a-refusal-does-not-poison", test_a_refusal_does_not_poison);
  ADD ("a-client-goes-on-after-another", test_a_client_goes_on_after_another);
  ADD ("it-can-be-cancelled", test_it_can_be_cancelled);
  ADD ("connects-to-a-name", test_connects_to_a_name);
#undef ADD
  return g_test_run ();
}
