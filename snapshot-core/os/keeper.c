/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/keeper.h"

struct _SnapKeeper {
  SnapChildSpec spec; /* borrowed pointers; not used after the start */
  GThread *thread;

  GMutex lock; /* of what follows */
  GCond changed;
  gboolean started; /* or not: then pid is -1 and error is set */
  gboolean over;    /* the thread may end */
  pid_t pid;
  GError *error;
};

static gpointer
keep (gpointer data)
{
  SnapKeeper *self = data;
  GError *error = NULL;
  pid_t pid = snap_child_start (&self->spec, &error);

  g_mutex_lock (&self->lock);
  self->pid = pid;
  self->error = error;
  self->started = TRUE;
  g_cond_signal (&self->changed);
  while (pid > 0 && !self->over)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
  return NULL;
}

static void
await_start (SnapKeeper *self)
{
  g_mutex_lock (&self->lock);
  while (!self->started)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
}

static void
keeper_free (SnapKeeper *self)
{
  g_mutex_lock (&self->lock);
  self->over = TRUE;
  g_cond_signal (&self->changed);
  g_mutex_unlock (&self->lock);
  g_thread_join (self->thread);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

SnapKeeper *
snap_keeper_start (const SnapChildSpec *spec, GError **error)
{
  SnapKeeper *self = g_new0 (SnapKeeper, 1);

  self->spec = *spec;
  self->spec.ends_with_thread = TRUE;
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  self->thread = g_thread_new ("keeper", keep, self);
  await_start (self);
  if (self->pid > 0)
    return self;
  g_propagate_error (error, g_steal_pointer (&self->error));
  keeper_free (self);
  return NULL;
}

pid_t
snap_keeper_pid (SnapKeeper *self)
{
  return self->pid;
}

int
snap_keeper_end (SnapKeeper *self, guint timeout_ms)
{
  int status = snap_child_reap (self->pid, timeout_ms);

  keeper_free (self);
  return status;
}
