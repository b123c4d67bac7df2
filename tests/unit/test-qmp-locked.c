/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client in a child that may open nothing, start nothing and page nothing
 * in: what a guard of a frozen guest is.
 */
#include "config.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qmp/guest.h"
#include "tests/unit/qmp-peer.h"

#define DEADLY(number)                                \
  BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), \
      BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

/* Whoever opens a file, makes a socket, a thread or a process, dies. */
static void
forbid (void)
{
  static struct sock_filter rules[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    DEADLY (SYS_openat),
    DEADLY (SYS_socket),
    DEADLY (SYS_connect),
    DEADLY (SYS_eventfd2),
    DEADLY (SYS_clone),
    DEADLY (SYS_clone3),
    DEADLY (SYS_execve),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = { G_N_ELEMENTS (rules), rules };

  g_assert_cmpint (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
  g_assert_cmpint (prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), ==,
                   0);
}

static void
work (int monitor_fd, int agent_fd)
{
  g_autoptr (QmpClient) client = qmp_client_adopt (monitor_fd);
  g_autoptr (QmpAgent) agent = qmp_agent_adopt (agent_fd);
  g_autoptr (QmpGuest) guest = qmp_guest_new (client, agent);
  guint n;

  mlockall (MCL_CURRENT | MCL_FUTURE); /* where we may */
  forbid ();
  g_assert_true (qmp_agent_sync (agent, LONG_MS, NULL));
  g_assert_true (guest->ops->freeze (guest, LONG_MS, &n, NULL));
  g_assert_true (guest->ops->stop (guest, LONG_MS, NULL));
  g_assert_null (guest->ops->execute (guest, "refused", json_object_new (),
                                      LONG_MS, NULL));
  g_assert_null (guest->ops->execute (guest, "late", NULL, SHORT_MS, NULL));
  g_assert_true (qmp_guest_release (guest, QMP_QUIET_STOPPED | QMP_QUIET_FROZEN,
                                    LONG_MS, NULL));
  g_assert_null (guest->ops->execute (guest, "gone", NULL, LONG_MS, NULL));
}

static void
be_a_monitor (QmpPeer *peer)
{
  qmp_peer_serve (peer, "query-status", "{\"status\": \"running\"}");
  qmp_peer_serve (peer, "stop", "{}");
  qmp_peer_say (peer, "{\"error\": {}, \"id\": \"%s\"}\n",
                qmp_peer_hear_command (peer, "refused"));
  qmp_peer_hear_command (peer, "late");
  qmp_peer_serve (peer, "query-status", "{\"status\": \"paused\"}");
  qmp_peer_serve (peer, "cont", "{}");
  qmp_peer_serve (peer, "query-status", "{\"status\": \"running\"}");
}

static void
be_an_agent (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-fsfreeze-freeze", "{\"return\": 1}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-thaw", "{\"return\": 1}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"thawed\"}");
}

static void
test_a_locked_child_releases_a_guest (void)
{
  static QmpPeer *monitor, *agent; /* which a child that exits still has */
  int monitor_fd, agent_fd, status;
  pid_t child;

  monitor = qmp_peer_start (be_a_monitor, &monitor_fd);
  agent = qmp_peer_start (be_an_agent, &agent_fd);
  child = fork ();
  if (child == 0) {
    work (monitor_fd, agent_fd);
    _exit (0);
  }
  close (monitor_fd);
  close (agent_fd);
  g_assert_cmpint (waitpid (child, &status, 0), ==, child);
  g_assert_cmpint (status, ==, 0);
  qmp_peer_join (monitor);
  qmp_peer_join (agent);
}

/* A child that opens a file anyway is seen. */
static void
test_the_child_is_locked (void)
{
  pid_t child = fork ();
  int status;

  if (child == 0) {
    forbid ();
    _exit (access ("/", R_OK) == 0 && syscall (SYS_openat, -1, "/", 0) >= 0);
  }
  g_assert_cmpint (waitpid (child, &status, 0), ==, child);
  g_assert_true (WIFSIGNALED (status));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qmp/locked/a-child-releases-a-guest",
                   test_a_locked_child_releases_a_guest);
  g_test_add_func ("/qmp/locked/the-child-is-locked", test_the_child_is_locked);
  return g_test_run ();
}
