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
  g_test_add_func ("/window/refuses-what-is-no-window",
                   test_refuses_what_is_no_window);
  g_test_add_func ("/window/refuses-too-many-steps",
                   test_refuses_too_many_steps);
  return g_test_run ();
}
