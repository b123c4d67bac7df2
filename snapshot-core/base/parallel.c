/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/parallel.h"

typedef struct {
  SnapJobFunc func;
  gpointer user_data;
  guint n_jobs;

  GMutex lock; /* of what follows */
  guint next;  /* the first job that nobody has begun */
  guint first_failed;
  GError *error; /* of that one */
} Jobs;

static gboolean
begin_job (Jobs *self, guint *index)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (self->next >= self->n_jobs || self->error != NULL)
    return FALSE;
  *index = self->next++;
  return TRUE;
}

/* Takes the error. */
static void
note_failure (Jobs *self, guint index, GError *error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (self->error != NULL && self->first_failed < index) {
    g_error_free (error);
    return;
  }
  g_clear_error (&self->error);
  self->error = error;
  self->first_failed = index;
}

static gpointer
work (gpointer user_data)
{
  Jobs *self = user_data;
  guint index;

  while (begin_job (self, &index)) {
    GError *error = NULL;

    if (!self->func (index, self->user_data, &error))
      note_failure (self, index, error);
  }
  return NULL;
}

/* A thread that cannot be had is no loss: the others do its work. */
static void
start_threads (GPtrArray *threads, guint n, Jobs *jobs)
{
  for (guint i = 0; i < n; i++) {
    GThread *thread = g_thread_try_new ("job", work, jobs, NULL);

    if (thread != NULL)
      g_ptr_array_add (threads, thread);
  }
}

gboolean
snap_parallel_run (guint n_threads, guint n_jobs, SnapJobFunc func,
                   gpointer user_data, GError **error)
{
  g_autoptr (GPtrArray) threads = g_ptr_array_new ();
  Jobs jobs = { .func = func, .user_data = user_data, .n_jobs = n_jobs };

  g_return_val_if_fail (n_threads > 0, FALSE);

  g_mutex_init (&jobs.lock);
  start_threads (threads, MIN (n_threads, MAX (n_jobs, 1)) - 1, &jobs);
  work (&jobs);
  for (guint i = 0; i < threads->len; i++)
    g_thread_join (g_ptr_array_index (threads, i));
  g_mutex_clear (&jobs.lock);
  if (jobs.error == NULL)
    return TRUE;
  g_propagate_error (error, jobs.error);
  return FALSE;
}
