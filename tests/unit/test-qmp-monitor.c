/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <unistd.h>

#include "qmp/monitor.h"
#include "tests/unit/qmp-peer.h"

/* A peer lets one connection in: a second one would not be greeted. */

static void
assert_answer (QmpMonitor *monitor, const char *command)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) answer = NULL;

  qmp_monitor_lock (monitor);
  qmp_monitor_lock (monitor);
  answer = qmp_client_execute (qmp_monitor_client (monitor), command, NULL,
                               LONG_MS, &error);
  qmp_monitor_unlock (monitor);
  qmp_monitor_unlock (monitor);
  g_assert_no_error (error);
}

static void
serve_two (QmpPeer *peer)
{
  qmp_peer_greet (peer);
  qmp_peer_serve (peer, "first", "{}");
  qmp_peer_serve (peer, "second", "{}");
  qmp_peer_await_end (peer);
}

static void
test_two_share_a_connection (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (serve_two);
  g_autofree char *link = g_strconcat (qmp_peer_path (peer), ".link", NULL);
  g_autoptr (GError) error = NULL;
  QmpMonitor *first, *second;

  g_assert_cmpint (symlink (qmp_peer_path (peer), link), ==, 0);
  first = qmp_monitor_ref (qmp_peer_path (peer), &error);
  g_assert_no_error (error);
  second = qmp_monitor_ref (link, &error);
  g_assert_no_error (error);
  g_assert_true (first == second);
  unlink (link);
  assert_answer (first, "first");
  qmp_monitor_unref (first);
  assert_answer (second, "second");
  qmp_monitor_unref (second); /* and the peer sees its end */
}

static void
greet_and_leave (QmpPeer *peer)
{
  qmp_peer_greet (peer);
}

static void
test_one_that_is_gone_is_not_given_out (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (greet_and_leave);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpMonitor) monitor =
      qmp_monitor_ref (qmp_peer_path (peer), &error);

  g_assert_no_error (error);
  while (!qmp_client_is_gone (qmp_monitor_client (monitor)))
    g_usleep (1000);
  unlink (qmp_peer_path (peer));
  g_assert_null (qmp_monitor_ref (qmp_peer_path (peer), &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_GONE);
}

#define N_THREADS 8
#define N_ROUNDS 50

static void
serve_all (QmpPeer *peer)
{
  qmp_peer_greet (peer);
  for (int i = 0; i < N_THREADS * N_ROUNDS; i++)
    qmp_peer_serve (peer, "ask", "{}");
  qmp_peer_await_end (peer);
}

static gpointer
ask_often (gpointer path)
{
  for (int i = 0; i < N_ROUNDS; i++) {
    g_autoptr (QmpMonitor) monitor = qmp_monitor_ref (path, NULL);

    g_assert_nonnull (monitor);
    assert_answer (monitor, "ask");
  }
  return NULL;
}

static void
test_many_threads_take_turns (void)
{
  g_autoptr (QmpPeer) peer = qmp_peer_listen (serve_all);
  char *path = (char *) qmp_peer_path (peer);
  g_autoptr (QmpMonitor) keeper = qmp_monitor_ref (path, NULL);
  GThread *threads[N_THREADS];

  g_assert_nonnull (keeper);
  for (int i = 0; i < N_THREADS; i++)
    threads[i] = g_thread_new ("asker", ask_often, path);
  for (int i = 0; i < N_THREADS; i++)
    g_thread_join (threads[i]);
}

static void
test_a_failure_is_told (void)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (qmp_monitor_ref ("/nonexistent/socket", &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_GONE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qmp/monitor/two-share-a-connection",
                   test_two_share_a_connection);
  g_test_add_func ("/qmp/monitor/one-that-is-gone-is-not-given-out",
                   test_one_that_is_gone_is_not_given_out);
  g_test_add_func ("/qmp/monitor/many-threads-take-turns",
                   test_many_threads_take_turns);
  g_test_add_func ("/qmp/monitor/a-failure-is-told", test_a_failure_is_told);
  return g_test_run ();
}
