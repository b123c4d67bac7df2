/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Children and commands, with the shell as the tool that misbehaves.
 */
#include "config.h"

#include "snapshot-core/os/command.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/keeper.h"

static char *
run_shell (const char *script, const SnapCommandOptions *options,
           GError **error)
{
  const char *argv[] = { "sh", "-c", script, NULL };
  char *output = NULL;

  snap_command_run (argv, options, &output, error);
  return output;
}

static void
assert_output (const char *script, const SnapCommandOptions *options,
               const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *output = run_shell (script, options, &error);

  g_assert_no_error (error);
  g_assert_cmpstr (output, ==, expected);
}

static void
assert_message (const char *script, const SnapCommandOptions *options,
                SnapError code, const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *output = run_shell (script, options, &error);

  g_assert_error (error, SNAP_ERROR, (int) code);
  g_assert_cmpstr (error->message, ==, expected);
  g_assert_null (output);
}

/* At a number above the ones that a test gives to its child. */
static int
memory_file (const char *text)
{
  snap_autofd int fd = memfd_create ("text", MFD_CLOEXEC);

  g_assert_true (snap_fd_write_all (fd, text, strlen (text), NULL));
  return fcntl (fd, F_DUPFD_CLOEXEC, 10);
}

/* ---- how a child starts ---- */

static void
test_missing_program_is_unsupported (void)
{
  const char *const names[] = { "nbdsnap-no-such-program", "/no/such/program",
                                "/etc/passwd" };

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    const char *argv[] = { names[i], NULL };
    g_autofree char *expected =
        g_strdup_printf ("%s: no such program", names[i]);
    g_autoptr (GError) error = NULL;

    g_assert_false (snap_command_run (argv, NULL, NULL, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
    g_assert_cmpstr (error->message, ==, expected);
  }
}

/* valgrind cannot give back a failed execve; it preloads its own library. */
static gboolean
under_valgrind (void)
{
  const char *preload = g_getenv ("LD_PRELOAD");

  return preload != NULL && strstr (preload, "/vgpreload_") != NULL;
}

/* Executable, but what should run it is missing: only execve sees that. */
static void
test_missing_interpreter_is_unsupported (void)
{
  g_autofree char *path =
      g_build_filename (g_get_tmp_dir (), "test-command-XXXXXX", NULL);
  const char *argv[] = { path, NULL };
  g_autoptr (GError) error = NULL;
  int fd = -1;

  fd = g_mkstemp_full (path, O_WRONLY | O_CLOEXEC, 0700);
  g_assert_true (snap_fd_write_all (fd, "#!/no/such\n", 11, NULL));
  close (fd);
  g_assert_false (snap_command_run (argv, NULL, NULL, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
  g_unlink (path);
}

static void
test_child_has_only_the_named_fds (void)
{
  snap_autofd int inherited = open ("/dev/null", O_RDONLY); /* no CLOEXEC */
  snap_autofd int low = fcntl (inherited, F_DUPFD, 5);
  snap_autofd int high = fcntl (inherited, F_DUPFD, 200);
  snap_autofd int given = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  const SnapChildFd fds[] = { { given, 3 }, { given, 7 } };
  const SnapCommandOptions options = { .fds = fds, .n_fds = 2 };

  g_assert_cmpint (low, !=, 7);
  g_assert_cmpint (high, >=, 200);
  /* 4 is the directory that ls reads. */
  assert_output ("exec ls /proc/self/fd", &options, "0\n1\n2\n3\n4\n7\n");
}

static void
test_fds_may_trade_places (void)
{
  snap_autofd int a = memory_file ("text a "), b = memory_file ("text b ");
  const SnapChildFd fds[] = { { a, b }, { b, a }, { a, 3 } };
  const SnapCommandOptions options = { .fds = fds, .n_fds = 3 };
  g_autofree char *script = g_strdup_printf (
      "cat /proc/self/fd/%d /proc/self/fd/%d /proc/self/fd/3", b, a);

  assert_output (script, &options, "text a text b text a ");
}

static void
test_input_is_null (void)
{
  assert_output ("readlink /proc/self/fd/0", NULL, "/dev/null\n");
}

static void
test_environment_is_ours_in_c_locale (void)
{
  g_setenv ("LC_ALL", "en_US.UTF-8", TRUE);
  g_setenv ("NBDSNAP_TEST", "kept", TRUE);
  g_setenv ("LISTEN_PID", "1", TRUE);
  g_setenv ("LISTEN_FDS", "1", TRUE);
  assert_output ("echo $LC_ALL $NBDSNAP_TEST ${LISTEN_PID-none} "
                 "${LISTEN_FDS-none}",
                 NULL, "C kept none none\n");
  g_unsetenv ("LISTEN_PID");
  g_unsetenv ("LISTEN_FDS");
}

static void
test_listen_pid_is_the_child (void)
{
  const char *argv[] = { "sh", "-c", "test \"$LISTEN_PID:$LISTEN_FDS\" = $$:2",
                         NULL };
  pid_t pid = snap_child_start (
      &(SnapChildSpec){ .argv = argv, .listen_fds = 2 }, NULL);

  g_assert_cmpint (pid, >, 0);
  g_assert_cmpint (snap_child_reap (pid, 10000), ==, 0);
}

static void
test_child_leads_its_own_group (void)
{
  assert_output ("read pid name state parent group rest </proc/self/stat; "
                 "test $pid = $group && echo leads",
                 NULL, "leads\n");
}

/* What a child says of its signals under @key, as a bit mask.  Without 32 and
   33: the C library keeps them for itself, and lets nobody reset them. */
static guint64
signals_of_child (const char *key)
{
  g_autofree char *script =
      g_strdup_printf ("exec sed -n s/^%s://p /proc/self/status", key);
  g_autoptr (GError) error = NULL;
  g_autofree char *mask = run_shell (script, NULL, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (strlen (g_strstrip (mask)), ==, 16);
  return g_ascii_strtoull (mask, NULL, 16) & ~G_GUINT64_CONSTANT (0x180000000);
}

static void
test_signals_are_reset (void)
{
  sigset_t usr1;

  signal (SIGPIPE, SIG_IGN);
  sigemptyset (&usr1);
  sigaddset (&usr1, SIGUSR1);
  sigprocmask (SIG_BLOCK, &usr1, NULL);
  g_assert_cmphex (signals_of_child ("SigBlk"), ==, 0);
  g_assert_cmphex (signals_of_child ("SigIgn"), ==, 0);
  sigprocmask (SIG_UNBLOCK, &usr1, NULL);
  signal (SIGPIPE, SIG_DFL);
}

/* ---- how it ends ---- */

static void
test_status_becomes_text (void)
{
  static const struct {
    int status;
    const char *text;
  } cases[] = {
    { 0, "exited with 0" },
    { 3 << 8, "exited with 3" },
    { SIGKILL, "was killed by signal 9 (Killed)" },
    { -1, "ended in an unknown way" },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *text = snap_child_status_text (cases[i].status);

    g_assert_cmpstr (text, ==, cases[i].text);
  }
}

/* Also when it is a zombie that its new parent has yet to reap. */
static gboolean
has_ended (pid_t pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/stat", (int) pid);
  g_autofree char *stat = NULL;

  return !g_file_get_contents (path, &stat, NULL, NULL)
         || strstr (stat, ") Z ") != NULL;
}

static gboolean
ends_soon (pid_t pid)
{
  for (int i = 0; i < 500 && !has_ended (pid); i++)
    g_usleep (10000);
  return has_ended (pid);
}

/* It says on a pipe that it is ready, so that no signal comes too early. */
static int
reap_shell (const char *script, guint timeout_ms)
{
  const char *argv[] = { "sh", "-c", script, NULL };
  SnapChildFd out = { .child_fd = 1 };
  int ends[2];
  char line;
  pid_t pid;

  g_assert_cmpint (pipe (ends), ==, 0);
  out.parent_fd = ends[1];
  pid = snap_child_start (
      &(SnapChildSpec){ .argv = argv, .fds = &out, .n_fds = 1 }, NULL);
  close (ends[1]);
  g_assert_cmpint (read (ends[0], &line, 1), ==, 1);
  close (ends[0]);
  return snap_child_reap (pid, timeout_ms);
}

static void
test_reap_waits_then_ends_it (void)
{
  g_assert_cmpint (reap_shell ("echo; exit 3", 10000), ==, 3 << 8);
  g_assert_cmpint (reap_shell ("echo; exec sleep 60", 50), ==, SIGTERM);
  g_assert_cmpint (reap_shell ("trap '' TERM; echo; sleep 60", 0), ==, SIGKILL);
}

static void
test_deadline_ends_the_whole_group (void)
{
  const SnapCommandOptions options = { .timeout_ms = 300 };
  g_autofree char *path =
      g_build_filename (g_get_tmp_dir (), "test-command-XXXXXX", NULL);
  snap_autofd int fd = g_mkstemp (path);
  g_autofree char *script =
      g_strdup_printf ("sleep 60 & echo $! >%s; wait", path);
  g_autofree char *text = NULL;
  pid_t grandchild;

  assert_message (script, &options, SNAP_ERROR_IO,
                  "sh: still running after 0.3 s");
  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  grandchild = (pid_t) g_ascii_strtoll (text, NULL, 10);
  g_assert_cmpint (grandchild, >, 1);
  g_assert_true (ends_soon (grandchild));
  g_unlink (path);
}

static void
test_what_stays_behind_is_not_waited_for (void)
{
  gint64 before = g_get_monotonic_time ();
  g_autofree char *output = run_shell ("sleep 60 & echo $!", NULL, NULL);
  pid_t left_behind = (pid_t) g_ascii_strtoll (output, NULL, 10);

  g_assert_cmpint (left_behind, >, 1);
  kill (left_behind, SIGKILL);
  g_assert_cmpint (g_get_monotonic_time () - before, <, 30 * G_USEC_PER_SEC);
}

static void
test_a_lost_status_is_no_success (void)
{
  signal (SIGCHLD, SIG_IGN); /* the kernel reaps */
  assert_message ("exit 0", NULL, SNAP_ERROR_IO, "sh: ended in an unknown way");
  signal (SIGCHLD, SIG_DFL);
}

/* ---- a child that must not outlive us ---- */

/* Runs in a process of its own, which is killed when it has told the pid. */
static G_NORETURN void
start_and_wait (int pid_fd)
{
  const char *argv[] = { "sleep", "60", NULL };
  SnapKeeper *keeper =
      snap_keeper_start (&(SnapChildSpec){ .argv = argv }, NULL);
  pid_t pid = snap_keeper_pid (keeper);

  prctl (PR_SET_PDEATHSIG, SIGKILL); /* should the test fail meanwhile */
  snap_fd_write_all (pid_fd, &pid, sizeof pid, NULL);
  for (;;)
    pause ();
}

static void
test_kept_child_dies_with_us (void)
{
  int ends[2];
  pid_t us, child = 0;

  g_assert_cmpint (pipe (ends), ==, 0);
  us = fork ();
  if (us == 0)
    start_and_wait (ends[1]);
  g_assert_cmpint (read (ends[0], &child, sizeof child), ==, sizeof child);
  g_assert_false (has_ended (child));
  kill (us, SIGKILL);
  snap_child_reap (us, 10000);
  g_assert_true (ends_soon (child));
  close (ends[0]);
  close (ends[1]);
}

static gpointer
start_kept (gpointer unused)
{
  const char *argv[] = { "sleep", "60", NULL };

  return snap_keeper_start (&(SnapChildSpec){ .argv = argv }, NULL);
}

static void
test_kept_child_outlives_its_callers_thread (void)
{
  GThread *thread = g_thread_new ("short", start_kept, NULL);
  SnapKeeper *keeper = g_thread_join (thread);

  g_usleep (50000);
  g_assert_false (has_ended (snap_keeper_pid (keeper)));
  g_assert_cmpint (snap_keeper_end (keeper, 0), ==, SIGTERM);
}

static void
test_kept_child_may_not_start (void)
{
  const char *argv[] = { "nbdsnap-no-such-program", NULL };
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_keeper_start (&(SnapChildSpec){ .argv = argv }, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED);
}

/* ---- what it prints ---- */

static void
test_output_is_bounded (void)
{
  g_autofree char *all =
      run_shell ("head -c 16777216 /dev/zero | tr '\\0' x", NULL, NULL);

  g_assert_nonnull (all);
  g_assert_cmpuint (strlen (all), ==, SNAP_COMMAND_MAX_OUTPUT);
  assert_message ("head -c 16777217 /dev/zero; sleep 60", NULL, SNAP_ERROR_IO,
                  "sh: printed more than 16777216 bytes");
}

static void
test_both_streams_are_drained (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *output =
      run_shell ("head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero | tr "
                 "'\\0' x; head -c 300000 /dev/zero >&2",
                 NULL, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (strlen (output), ==, 300000);
}

static void
test_unwanted_output_is_dropped (void)
{
  const char *argv[] = { "sh", "-c", "echo lost", NULL };
  g_autoptr (GError) error = NULL;

  g_assert_true (snap_command_run (argv, NULL, NULL, &error));
  g_assert_no_error (error);
}

static void
test_message_is_the_first_line (void)
{
  assert_message ("echo out; exit 1", NULL, SNAP_ERROR_FAILED,
                  "sh: exited with 1");
  assert_message ("echo 'it broke' >&2; echo more >&2; exit 3", NULL,
                  SNAP_ERROR_FAILED, "sh: it broke (exited with 3)");
  assert_message ("echo 'sh: it broke' >&2; exit 3", NULL, SNAP_ERROR_FAILED,
                  "sh: it broke (exited with 3)");
  assert_message ("echo dying >&2; kill -9 $$", NULL, SNAP_ERROR_IO,
                  "sh: dying (was killed by signal 9 (Killed))");
}

static void
assert_first_line (const char *program, const char *text, const char *expected)
{
  g_autofree char *line = snap_command_first_line (program, text);

  g_assert_cmpstr (line, ==, expected);
}

static void
test_first_line_fits_a_message (void)
{
  g_autofree char *long_line = g_strnfill (5000, 'x');
  g_autofree char *cut = g_strnfill (1000, 'x');
  g_autofree char *expected = g_strconcat (cut, "...", NULL);

  assert_first_line ("/usr/bin/tool", "tool: a", "a");
  assert_first_line ("/usr/bin/tool", "/usr/bin/tool: a", "a");
  assert_first_line ("tool", "toolbox: a", "toolbox: a");
  assert_first_line ("tool", "tool:a", "tool:a");
  assert_first_line ("tool", "\n\n  a\nb", "a");
  assert_first_line ("tool", "a\r\nb", "a");
  assert_first_line ("tool", "", NULL);
  assert_first_line ("tool", "\n", NULL);
  assert_first_line ("tool", "tool: \n", NULL);
  assert_first_line ("tool", "a\tb\x1b[31m\x7f", "a\\x09b\\x1b[31m\\x7f");
  assert_first_line ("tool", "\xc3\xa9 \xff\xc3", "\xc3\xa9 \\xff\\xc3");
  assert_first_line ("tool", "\xc2\x85", "\\xc2\\x85");
  assert_first_line ("tool", long_line, expected);
}

static gpointer
run_many (gpointer unused)
{
  for (int i = 0; i < 15; i++)
    assert_output ("echo hello", NULL, "hello\n");
  return NULL;
}

static void
test_many_threads_run_commands (void)
{
  GThread *threads[4];

  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("run", run_many, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

static void
add_child_tests (void)
{
  g_test_add_func ("/child/a-missing-program-is-unsupported",
                   test_missing_program_is_unsupported);
  if (!under_valgrind ())
    g_test_add_func ("/child/a-missing-interpreter-is-unsupported",
                     test_missing_interpreter_is_unsupported);
  g_test_add_func ("/child/has-only-the-named-fds",
                   test_child_has_only_the_named_fds);
  g_test_add_func ("/child/fds-may-trade-places", test_fds_may_trade_places);
  g_test_add_func ("/child/input-is-null", test_input_is_null);
  g_test_add_func ("/child/environment-is-ours-in-c-locale",
                   test_environment_is_ours_in_c_locale);
  g_test_add_func ("/child/listen-pid-is-the-child",
                   test_listen_pid_is_the_child);
  g_test_add_func ("/child/leads-its-own-group",
                   test_child_leads_its_own_group);
  g_test_add_func ("/child/signals-are-reset", test_signals_are_reset);
  g_test_add_func ("/child/status-becomes-text", test_status_becomes_text);
  g_test_add_func ("/child/reap-waits-then-ends-it",
                   test_reap_waits_then_ends_it);
  g_test_add_func ("/keeper/child-dies-with-us", test_kept_child_dies_with_us);
  g_test_add_func ("/keeper/child-outlives-its-callers-thread",
                   test_kept_child_outlives_its_callers_thread);
  g_test_add_func ("/keeper/child-may-not-start",
                   test_kept_child_may_not_start);
}

static void
add_command_tests (void)
{
  g_test_add_func ("/command/deadline-ends-the-whole-group",
                   test_deadline_ends_the_whole_group);
  g_test_add_func ("/command/what-stays-behind-is-not-waited-for",
                   test_what_stays_behind_is_not_waited_for);
  g_test_add_func ("/command/a-lost-status-is-no-success",
                   test_a_lost_status_is_no_success);
  g_test_add_func ("/command/output-is-bounded", test_output_is_bounded);
  g_test_add_func ("/command/both-streams-are-drained",
                   test_both_streams_are_drained);
  g_test_add_func ("/command/unwanted-output-is-dropped",
                   test_unwanted_output_is_dropped);
  g_test_add_func ("/command/message-is-the-first-line",
                   test_message_is_the_first_line);
  g_test_add_func ("/command/first-line-fits-a-message",
                   test_first_line_fits_a_message);
  g_test_add_func ("/command/many-threads-run-commands",
                   test_many_threads_run_commands);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_child_tests ();
  add_command_tests ();
  return g_test_run ();
}
