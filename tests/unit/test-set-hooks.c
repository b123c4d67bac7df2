/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which of the user's commands are run when a step of a creation fails, and
 * what the second one is told.
 */
#include "config.h"

#include "snapshot-core/service/set.h"

#include <glib/gstdio.h>
#include <string.h>

#include "tests/unit/memory-volume.h"

#define SAY "echo \"$NBDSNAP_HOOK $NBDSNAP_OUTCOME\" >>\"$SAID\""

static void
setup (MemoryTest *f, gconstpointer data)
{
  g_autofree char *said = NULL;

  memory_test_setup (f, data);
  memory_store_create ("a", MEMORY_BLOCK);
  memory_store_create ("b", MEMORY_BLOCK);
  said = g_build_filename (f->scratch, "said", NULL);
  g_setenv ("SAID", said, TRUE);
}

/* What the commands have said since it was last asked; the caller frees. */
static char *
take_said (void)
{
  char *text = NULL;

  if (!g_file_get_contents (g_getenv ("SAID"), &text, NULL, NULL))
    return g_strdup ("");
  g_unlink (g_getenv ("SAID"));
  return text;
}

/* Make a set of two volumes; the code of the error, or -1. */
static int
create (MemoryTest *f, const char *pre_cut)
{
  const SnapHooks hooks = { pre_cut, SAY, 60000 };
  const SnapSetSpec spec = { .name = "mon", .hooks = &hooks };
  g_autoptr (SnapVolume) one = memory_test_open (f, "memory:a");
  g_autoptr (SnapVolume) two = memory_test_open (f, "slow-memory:b");
  SnapVolume *volumes[] = { one, two };
  g_autoptr (GError) error = NULL;
  g_autoptr (SnapSet) set =
      snap_set_create (f->state, volumes, 2, &spec, NULL, &error);

  g_assert_true ((set == NULL) == (error != NULL));
  return error != NULL ? error->code : -1;
}

static void
assert_said (const char *wanted)
{
  g_autofree char *said = take_said ();

  g_assert_cmpstr (said, ==, wanted);
}

static guint
n_owed (MemoryTest *f)
{
  g_auto (SnapSetFound) found = { 0 };

  snap_set_recover (f->state, f->registry, &found, NULL);
  return found.owed != NULL ? found.owed->len : 0;
}

static void
test_neither_is_run_before_all_is_prepared (MemoryTest *f, gconstpointer data)
{
  memory_driver_fail (MEMORY_PLAN, 2);
  g_assert_cmpint (create (f, SAY), ==, SNAP_ERROR_IO);
  memory_driver_fail (MEMORY_PREPARE, 2);
  g_assert_cmpint (create (f, SAY), ==, SNAP_ERROR_IO);
  assert_said ("");
}

static void
test_both_are_run_around_a_cut (MemoryTest *f, gconstpointer data)
{
  g_assert_cmpint (create (f, SAY), ==, -1);
  assert_said ("pre-cut \npost-cut complete\n");
  g_assert_cmpuint (n_owed (f), ==, 0);
}

static void
test_the_second_is_told_that_the_cut_failed (MemoryTest *f, gconstpointer data)
{
  for (guint nth = 1; nth <= 2; nth++) {
    memory_driver_fail (MEMORY_DO_CUT, nth);
    g_assert_cmpint (create (f, SAY), ==, SNAP_ERROR_IO);
    assert_said ("pre-cut \npost-cut failed\n");
    g_assert_cmpuint (memory_store_n_snaps ("a"), ==, 0);
    g_assert_cmpuint (memory_test_n_files (f, "journal"), ==, 0);
  }
}

static void
test_nothing_is_cut_when_the_first_fails (MemoryTest *f, gconstpointer data)
{
  memory_driver_fail (MEMORY_DO_CUT, 1);
  g_assert_cmpint (create (f, "exit 1"), ==, SNAP_ERROR_FAILED);
  assert_said ("post-cut failed\n");
  g_assert_cmpint (create (f, SAY), ==, SNAP_ERROR_IO); /* still the next */
}

/* Nothing is owed any more, whatever recovery has to do. */
static void
test_what_fails_later_is_not_told_of (MemoryTest *f, gconstpointer data)
{
  memory_driver_fail (MEMORY_COMMIT, 1);
  g_assert_cmpint (create (f, SAY), ==, SNAP_ERROR_PARTIAL);
  assert_said ("pre-cut \npost-cut complete\n");
  g_assert_cmpuint (n_owed (f), ==, 0);
  g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, test)                                          \
  g_test_add ("/set-hooks/" name, MemoryTest, NULL, setup, test, \
              memory_test_teardown)
  ADD ("neither-is-run-before-all-is-prepared",
       test_neither_is_run_before_all_is_prepared);
  ADD ("both-are-run-around-a-cut", test_both_are_run_around_a_cut);
  ADD ("the-second-is-told-that-the-cut-failed",
       test_the_second_is_told_that_the_cut_failed);
  ADD ("nothing-is-cut-when-the-first-fails",
       test_nothing_is_cut_when_the_first_fails);
  ADD ("what-fails-later-is-not-told-of", test_what_fails_later_is_not_told_of);
  return g_test_run ();
}
