/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A library to preload into programs built with ThreadSanitizer: GLib itself is
 * not built with it, so that what GLib's locks and queues put in order would be
 * reported as races.
 *
 *   G_SLICE=always-malloc LD_PRELOAD=.libs/tell-tsan.so \
 *     setarch -R tests/unit/test-parallel
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <glib.h>

/* Not there without the sanitizer. */
void __tsan_acquire (void *address) __attribute__ ((weak));
void __tsan_release (void *address) __attribute__ ((weak));

static void
acquire (void *address)
{
  if (__tsan_acquire != NULL)
    __tsan_acquire (address);
}

static void
release (void *address)
{
  if (__tsan_release != NULL)
    __tsan_release (address);
}

/* GLib's own function of that name. */
#define NEXT(name)                     \
  ({                                   \
    static __typeof__ (&name) next;    \
                                       \
    if (next == NULL)                  \
      next = dlsym (RTLD_NEXT, #name); \
    next;                              \
  })

/* @type *SELF is taken by @take and given back by @give. */
#define LOCK(type, take, give) \
  void take (type *self)       \
  {                            \
    NEXT (take) (self);        \
    acquire (self);            \
  }                            \
  void give (type *self)       \
  {                            \
    release (self);            \
    NEXT (give) (self);        \
  }

LOCK (GMutex, g_mutex_lock, g_mutex_unlock)
LOCK (GRecMutex, g_rec_mutex_lock, g_rec_mutex_unlock)
LOCK (GRWLock, g_rw_lock_reader_lock, g_rw_lock_reader_unlock)
LOCK (GRWLock, g_rw_lock_writer_lock, g_rw_lock_writer_unlock)

gboolean
g_mutex_trylock (GMutex *mutex)
{
  gboolean taken = NEXT (g_mutex_trylock) (mutex);

  if (taken)
    acquire (mutex);
  return taken;
}

void
g_cond_wait (GCond *cond, GMutex *mutex)
{
  release (mutex);
  NEXT (g_cond_wait) (cond, mutex);
  acquire (mutex);
}

gboolean
g_cond_wait_until (GCond *cond, GMutex *mutex, gint64 end_time)
{
  gboolean in_time;

  release (mutex);
  in_time = NEXT (g_cond_wait_until) (cond, mutex, end_time);
  acquire (mutex);
  return in_time;
}

void
g_async_queue_push (GAsyncQueue *queue, gpointer data)
{
  release (queue);
  NEXT (g_async_queue_push) (queue, data);
}

/* Whoever is last frees it, after all others. */
void
g_bytes_unref (GBytes *bytes)
{
  release (bytes);
  acquire (bytes);
  NEXT (g_bytes_unref) (bytes);
}

/* What GLib does within itself, where nothing can be put in between; a quark is
   the same one for whoever looks it up. */
const char *__tsan_default_suppressions (void);
const char *
__tsan_default_suppressions (void)
{
  return "race:g_bytes_unref\nrace:g_queue_pop_tail\nrace:g_rw_lock_\n"
         "race:snap_error_quark\n";
}

/* What is taken out was put in before. */
#define TAKE(name, parameters, arguments)  \
  gpointer name parameters                 \
  {                                        \
    gpointer data = NEXT (name) arguments; \
                                           \
    acquire (queue);                       \
    return data;                           \
  }

TAKE (g_async_queue_pop, (GAsyncQueue * queue), (queue))
TAKE (g_async_queue_try_pop, (GAsyncQueue * queue), (queue))
TAKE (g_async_queue_timeout_pop, (GAsyncQueue * queue, guint64 timeout),
      (queue, timeout))
