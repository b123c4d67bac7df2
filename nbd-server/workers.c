/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/workers.h"

struct _SnapNbdWorkers {
  guint max_threads;
  guint max_queued;
  SnapNbdServeFunc serve;
  gpointer user_data;
  GPtrArray *threads; /* GThread; only its owner's thread uses it */

  GMutex lock;   /* guards the rest */
  GCond has_job; /* or there will be none */
  GCond has_room;
  GQueue jobs;
  guint n_idle;
  gboolean ending;
};

static void
join (gpointer thread)
{
  g_thread_join (thread);
}

SnapNbdWorkers *
snap_nbd_workers_new (guint max_threads, guint max_queued,
                      SnapNbdServeFunc serve, gpointer user_data)
{
  SnapNbdWorkers *self = g_new0 (SnapNbdWorkers, 1);

  self->max_threads = max_threads;
  self->max_queued = max_queued;
  self->serve = serve;
  self->user_data = user_data;
  self->threads = g_ptr_array_new_with_free_func (join);
  g_mutex_init (&self->lock);
  g_cond_init (&self->has_job);
  g_cond_init (&self->has_room);
  g_queue_init (&self->jobs);
  return self;
}

void
snap_nbd_workers_free (SnapNbdWorkers *self)
{
  if (self == NULL)
    return;
  g_mutex_lock (&self->lock);
  self->ending = TRUE;
  g_cond_broadcast (&self->has_job);
  g_mutex_unlock (&self->lock);
  g_ptr_array_unref (self->threads);
  g_cond_clear (&self->has_job);
  g_cond_clear (&self->has_room);
  g_mutex_clear (&self->lock);
  g_free (self);
}

/* The next job, or NULL when there will be none. */
static gpointer
take_job (SnapNbdWorkers *self)
{
  gpointer job;

  self->n_idle++;
  while (g_queue_is_empty (&self->jobs) && !self->ending)
    g_cond_wait (&self->has_job, &self->lock);
  self->n_idle--;
  job = g_queue_pop_head (&self->jobs);
  g_cond_signal (&self->has_room);
  return job;
}

static gpointer
work (gpointer data)
{
  SnapNbdWorkers *self = data;
  gpointer job;

  g_mutex_lock (&self->lock);
  while ((job = take_job (self)) != NULL) {
    g_mutex_unlock (&self->lock);
    self->serve (job, self->user_data);
    g_mutex_lock (&self->lock);
  }
  g_mutex_unlock (&self->lock);
  return NULL;
}

/* One more thread if the jobs outnumber those that wait; without any, the
   caller has to work. */
static gboolean
see_to_threads (SnapNbdWorkers *self)
{
  GThread *thread;

  if (self->n_idle > g_queue_get_length (&self->jobs)
      || self->threads->len >= self->max_threads)
    return TRUE;
  thread = g_thread_try_new ("nbd-worker", work, self, NULL);
  if (thread != NULL)
    g_ptr_array_add (self->threads, thread);
  return self->threads->len > 0;
}

void
snap_nbd_workers_push (SnapNbdWorkers *self, gpointer job)
{
  g_mutex_lock (&self->lock);
  while (g_queue_get_length (&self->jobs) >= self->max_queued)
    g_cond_wait (&self->has_room, &self->lock);
  if (!see_to_threads (self)) {
    g_mutex_unlock (&self->lock);
    self->serve (job, self->user_data);
    return;
  }
  g_queue_push_tail (&self->jobs, job);
  g_cond_signal (&self->has_job);
  g_mutex_unlock (&self->lock);
}

gboolean
snap_nbd_workers_are_idle (SnapNbdWorkers *self)
{
  gboolean idle;

  g_mutex_lock (&self->lock);
  idle = g_queue_is_empty (&self->jobs) && self->n_idle == self->threads->len;
  g_mutex_unlock (&self->lock);
  return idle;
}
