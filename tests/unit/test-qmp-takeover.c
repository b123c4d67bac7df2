/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What goes along with a command, and a connection that another client had.
 */
#include "config.h"

#include <unistd.h>

#include "qmp/client.h"
#include "tests/unit/qmp-assert.h"

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
  g_autoptr (QmpClient) client = qmp_start_client (take_fd, &peer);
  g_autoptr (JsonNode) answer = NULL;
  int fds[2];

  g_assert_cmpint (pipe (fds), ==, 0);
  g_assert_cmpint (write (fds[1], "abc", 3), ==, 3);
  answer = qmp_client_execute_with_fds (client, "getfd", NULL, fds, 1, LONG_MS,
                                        NULL);
  g_assert_nonnull (answer);
  close (fds[0]);
  close (fds[1]);
  qmp_assert_answer (client, "next", "{}");
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
  g_autoptr (QmpClient) client = qmp_start_client (read_slowly, &peer);
  g_autofree char *text = g_strnfill (1000000, 'x');
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

/* The rest of the line comes when there is a new client. */
static void
be_taken_over (QmpPeer *peer)
{
  qmp_peer_say (peer, "rn\": {\"status\": \"running\"}, \"id\": \"old-1\"}\r\n"
                      "{\"event\": \"OLD\"}\r\n{\"ret");
  qmp_peer_hear (peer);
  g_assert_cmpint (qmp_peer_hear (peer)[0], ==, '\xff');
  qmp_peer_say (peer, "urn\": {}, \"id\": \"old-2\"}\r\n"
                      "{\"error\": {\"desc\": \"JSON parse error\"}}\r\n"
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
  qmp_assert_failure (client, "first", SHORT_MS, QMP_ERROR_TIMEOUT);
  qmp_assert_answer (client, "second", "2");
  qmp_assert_event (client, "NEW");
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
  g_autoptr (QmpClient) client = qmp_start_client (go_on, &peer);
  const char text[] = "{\"execute\":\"by-another\"}\n";
  char byte;

  qmp_assert_failure (client, "unanswered", SHORT_MS, QMP_ERROR_TIMEOUT);
  g_assert_cmpint (write (qmp_client_fd (client), text, sizeof text - 1), >, 0);
  while (read (qmp_client_fd (client), &byte, 1) < 0)
    g_usleep (1000);
  qmp_client_resume (client);
  qmp_assert_failure (client, "resumed", SHORT_MS, QMP_ERROR_TIMEOUT);
  qmp_assert_answer (client, "again", "{}");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/qmp/takeover/" name, func)
  ADD ("a-descriptor-goes-along", test_a_descriptor_goes_along);
  ADD ("a-long-command-goes-in-parts", test_a_long_command_goes_in_parts);
  ADD ("a-line-may-be-taken-over-in-its-middle",
       test_a_line_may_be_taken_over_in_its_middle);
  ADD ("a-client-goes-on-after-another", test_a_client_goes_on_after_another);
#undef ADD
  return g_test_run ();
}
