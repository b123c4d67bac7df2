/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/error.h"
#include "snapshot-core/base/window.h"

static SnapWindow *
make (void)
{
  SnapWindow *window = snap_window_new ();

  snap_window_suspend (window, "vg-a");
  snap_window_suspend (window, "vg-b--c");
  snap_window_suspend (window, "vg-a");
  snap_window_send (window, "vg-pool-tpool", "delete 7");
  snap_window_send (window, "vg-pool-tpool", "create_snap 7 1");
  return window;
}

static void
test_reads_what_it_writes (void)
{
  g_autoptr (SnapWindow) window = make ();
  g_autofree char *text = snap_window_format (window);
  g_autoptr (SnapWindow) copy = snap_window_parse (text, NULL);
  g_autofree char *again = snap_window_format (copy);

  g_assert_cmpstr (text, ==,
                   "suspend vg-a\nsuspend vg-b--c\n"
                   "message vg-pool-tpool delete 7\n"
                   "message vg-pool-tpool create_snap 7 1\n");
  g_assert_cmpstr (again, ==, text);
  g_assert_false (snap_window_is_empty (copy));
}

static void
test_nothing_to_do_is_empty (void)
{
  g_autoptr (SnapWindow) window = snap_window_new ();
  g_autofree char *text = snap_window_format (window);
  g_autoptr (SnapWindow) copy = snap_window_parse (text, NULL);

  g_assert_cmpstr (text, ==, "");
  g_assert_true (snap_window_is_empty (copy));
}

#define COMMAND \
  "{\"execute\": \"transaction\", \"arguments\": {\"a\": \"\u00fc\"}}"

static void
test_reads_the_guest_it_writes (void)
{
  g_autoptr (SnapWindow) window = make ();
  g_autofree char *text = NULL;
  g_autofree char *again = NULL;
  g_autoptr (SnapWindow) copy = NULL;

  snap_window_execute (window, COMMAND);
  snap_window_set_guest (window, SNAP_QUIESCE_AGENT, TRUE);
  snap_window_execute (window, "{}");
  text = snap_window_format (window);
  g_assert_true (g_str_has_prefix (text, "guest agent running\ncommand " COMMAND
                                         "\ncommand {}\n"
                                         "suspend vg-a\n"));
  copy = snap_window_parse (text, NULL);
  again = snap_window_format (copy);
  g_assert_cmpstr (again, ==, text);
  g_assert_true (copy->running);
  g_assert_cmpint (copy->quiesce, ==, SNAP_QUIESCE_AGENT);
}

static void
test_commands_need_a_guest_and_quiet_none (void)
{
  g_autoptr (SnapWindow) window = snap_window_new ();
  g_autoptr (SnapWindow) copy = NULL;
  g_autofree char *text = NULL;

  g_assert_false (snap_window_needs_guest (window));
  snap_window_execute (window, "{}");
  g_assert_true (snap_window_needs_guest (window));
  text = snap_window_format (window);
  copy = snap_window_parse (text, NULL);
  g_assert_true (copy->has_guest);
  g_assert_cmpint (copy->quiesce, ==, SNAP_QUIESCE_NONE);
  g_assert_false (snap_window_is_empty (copy));
}

/* Another driver's cuts are made meanwhile. */
static void
test_a_guest_to_quiet_is_something_to_do (void)
{
  g_autoptr (SnapWindow) window = snap_window_new ();

  snap_window_set_guest (window, SNAP_QUIESCE_NONE, TRUE);
  g_assert_true (snap_window_is_empty (window));
  snap_window_set_guest (window, SNAP_QUIESCE_PAUSE, FALSE);
  g_assert_false (snap_window_is_empty (window));
}

static void
assert_refused (const char *text)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_window_parse (text, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
}

static void
test_refuses_what_is_no_window (void)
{
  g_autofree char *long_word = g_strnfill (SNAP_WINDOW_MAX_WORD + 1, 'a');
  g_autofree char *long_line = g_strdup_printf ("suspend %s\n", long_word);

  assert_refused ("suspend vg-a");
  assert_refused ("suspend\n");
  assert_refused ("suspend \n");
  assert_refused ("suspend vg-a vg-b\n");
  assert_refused ("message vg-pool\n");
  assert_refused ("message vg-pool \n");
  assert_refused ("message vg-pool a\tb\n");
  assert_refused ("remove vg-a\n");
  assert_refused ("\n");
  assert_refused (long_line);
}

static void
test_refuses_what_is_no_guest (void)
{
  g_autofree char *long_command = g_strnfill (SNAP_WINDOW_MAX_COMMAND + 1, '{');
  g_autofree char *long_line =
      g_strdup_printf ("guest none running\ncommand %s\n", long_command);

  assert_refused ("guest agent\n");
  assert_refused ("guest freeze running\n");
  assert_refused ("guest agent stopped\n");
  assert_refused ("guest agent running now\n");
  assert_refused ("guest agent running\nguest agent running\n");
  assert_refused ("suspend vg-a\nguest agent running\n");
  assert_refused ("command {}\n");
  assert_refused ("command {}\nguest agent running\n");
  assert_refused ("guest none running\ncommand\n");
  assert_refused ("guest none running\ncommand \n");
  assert_refused ("guest none running\ncommand stop\n");
  assert_refused ("guest none running\ncommand {\t}\n");
  assert_refused ("guest none running\ncommand {\xff}\n");
  assert_refused (long_line);
}

static void
test_refuses_too_many_steps (void)
{
  GString *text = g_string_new (NULL);

  for (int i = 0; i < SNAP_WINDOW_MAX_STEPS; i++)
    g_string_append (text, "message pool delete 1\n");
  snap_window_free (snap_window_parse (text->str, NULL));
  g_string_append (text, "message pool delete 1\n");
  assert_refused (text->str);
  g_string_free (text, TRUE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/window/reads-what-it-writes", test_reads_what_it_writes);
  g_test_add_func ("/window/nothing-to-do-is-empty",
                   test_nothing_to_do_is_empty);
  g_test_add_func ("/window/reads-the-guest-it-writes",
                   test_reads_the_guest_it_writes);
  g_test_add_func ("/window/commands-need-a-guest-and-quiet-none",
                   test_commands_need_a_guest_and_quiet_none);
  g_test_add_func ("/window/a-guest-to-quiet-is-something-to-do",
                   test_a_guest_to_quiet_is_something_to_do);
  g_test_add_func ("/window/refuses-what-is-no-guest",
                   test_refuses_what_is_no_guest);
  g_test_add_func ("/window/refuses-what-is-no-window",
                   test_refuses_what_is_no_window);
  g_test_add_func ("/window/refuses-too-many-steps",
                   test_refuses_too_many_steps);
  return g_test_run ();
}
