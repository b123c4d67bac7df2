/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/error.h"
#include "snapshot-core/base/parallel.h"

#define N_JOBS 100

typedef struct {
  gint n_begun[N_JOBS];
  guint first_bad; /* this job fails, and every one after it */
  guint late;      /* of the first two that fail the last to do so, or 0 */
} Log;

/* Both have begun before one of them fails. */
static void
wait_for_turn (Log *log, guint index)
{
  guint other = index == log->first_bad ? index + 1 : log->first_bad;

  while (g_atomic_int_get (&log->n_begun[other]) == 0)
    g_usleep (100);
  if (index == log->late)
    g_usleep (2000);
}

static gboolean
do_job (guint index, gpointer user_data, GError **error)
{
  Log *log = user_data;

  g_atomic_int_inc (&log->n_begun[index]);
  if (index < log->first_bad)
    return TRUE;
  if (log->late != 0 && index <= log->first_bad + 1)
    wait_for_turn (log, index);
  return snap_error_set (error, SNAP_ERROR_FAILED, "job %u", index);
}

static void
test_every_job_is_done_once (void)
{
  static const guint n_threads[] = { 1, 2, 7, 2 * N_JOBS };

  for (gsize i = 0; i < G_N_ELEMENTS (n_threads); i++) {
    Log log = { .first_bad = N_JOBS };
    GError *error = NULL;

    g_assert_true (
        snap_parallel_run (n_threads[i], N_JOBS, do_job, &log, &error));
    g_assert_no_error (error);
    for (guint j = 0; j < N_JOBS; j++)
      g_assert_cmpint (log.n_begun[j], ==, 1);
  }
}

static void
test_no_jobs_are_no_failure (void)
{
  g_assert_true (snap_parallel_run (2, 0, do_job, NULL, NULL));
}

static void
check_failure (guint n_threads, guint late)
{
  Log log = { .first_bad = 20, .late = late };
  g_autoptr (GError) error = NULL;
  gint n_after = 0;

  g_assert_false (snap_parallel_run (n_threads, N_JOBS, do_job, &log, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_FAILED);
  g_assert_cmpstr (error->message, ==, "job 20");
  for (guint i = 20; i < N_JOBS; i++)
    n_after += log.n_begun[i];
  g_assert_cmpint (n_after, <=, (gint) n_threads);
}

static void
test_the_first_failure_is_told_and_ends_it (void)
{
  check_failure (1, 0);
  check_failure (2, 20);
  check_failure (2, 21);
  check_failure (4, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/parallel/every-job-is-done-once",
                   test_every_job_is_done_once);
  g_test_add_func ("/parallel/no-jobs-are-no-failure",
                   test_no_jobs_are_no_failure);
  g_test_add_func ("/parallel/the-first-failure-is-told-and-ends-it",
                   test_the_first_failure_is_told_and_ends_it);
  return g_test_run ();
}
