/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/async-read.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"

/* Reads under way: what keeps a fast disk busy. */
#define DEPTH 64

/* As many are waited for before more are begun, so that the device is told of
   several at once. */
#define AT_LEAST 16

/* One run. */
typedef struct {
  int fd;
  const SnapReadPart *parts;
  guint n;
  SnapReadFunc done;
  gpointer user_data;
  GError *error; /* the first */
} Run;

struct _SnapAsyncRead {
  aio_context_t context;
  struct iocb blocks[DEPTH];
  struct iocb *idle[DEPTH];
  guint n_idle;
};

/* ---- those that nobody has ---- */

static GMutex lock; /* of what follows */
static GPtrArray *spare;

static SnapAsyncRead *
take_spare (void)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);

  if (spare == NULL || spare->len == 0)
    return NULL;
  return g_ptr_array_steal_index_fast (spare, spare->len - 1);
}

SnapAsyncRead *
snap_async_read_take (void)
{
  SnapAsyncRead *self = take_spare ();

  if (self != NULL)
    return self;
  self = g_new0 (SnapAsyncRead, 1);
  if (syscall (SYS_io_setup, DEPTH, &self->context) < 0) {
    g_free (self);
    return NULL;
  }
  for (guint i = 0; i < DEPTH; i++)
    self->idle[self->n_idle++] = &self->blocks[i];
  return self;
}

void
snap_async_read_give_back (SnapAsyncRead *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);

  if (spare == NULL)
    spare = g_ptr_array_new ();
  g_ptr_array_add (spare, self);
}

/* ---- one run ---- */

static void
fill (struct iocb *block, const Run *run, guint index)
{
  const SnapReadPart *part = &run->parts[index];

  *block = (struct iocb){ .aio_data = index,
                          .aio_lio_opcode = IOCB_CMD_PREAD,
                          .aio_fildes = (guint32) run->fd,
                          .aio_buf = (guintptr) part->buffer,
                          .aio_nbytes = part->length,
                          .aio_offset = (gint64) part->offset };
}

/* Begin as many as can be, from part @next on; how many that were. */
static guint
begin (SnapAsyncRead *self, Run *run, guint next)
{
  guint n_wanted = MIN (run->n - next, self->n_idle);
  struct iocb **blocks = self->idle + self->n_idle - n_wanted;
  long n;

  if (n_wanted == 0)
    return 0;
  for (guint i = 0; i < n_wanted; i++)
    fill (blocks[i], run, next + i);
  do
    n = syscall (SYS_io_submit, self->context, (long) n_wanted, blocks);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN && self->n_idle < DEPTH)
    return 0;
  if (n < 0) {
    snap_error_set_errno (&run->error, errno, "io_submit");
    return 0;
  }
  /* Those that were not begun stay idle, after the rest. */
  for (guint i = (guint) n; i < n_wanted; i++)
    blocks[i - (guint) n] = blocks[i];
  self->n_idle -= (guint) n;
  return (guint) n;
}

static void
finish_part (Run *run, const struct io_event *event)
{
  guint index = (guint) event->data;
  const SnapReadPart *part = &run->parts[index];

  if (run->error != NULL)
    return;
  if (event->res < 0)
    snap_error_set_errno (&run->error, (int) -event->res,
                          "read at offset %" G_GUINT64_FORMAT, part->offset);
  else if ((guint64) event->res < part->length)
    snap_error_set (&run->error, SNAP_ERROR_IO,
                    "ends at offset %" G_GUINT64_FORMAT,
                    part->offset + (guint64) event->res);
  else
    run->done (index, run->user_data, &run->error);
}

/* Wait for some of those that are under way. */
static void
reap (SnapAsyncRead *self, struct io_event *events, guint *n_events)
{
  guint n_busy = DEPTH - self->n_idle;
  long n;

  do
    n = syscall (SYS_io_getevents, self->context, (long) MIN (n_busy, AT_LEAST),
                 (long) n_busy, events, NULL);
  while (n < 0 && errno == EINTR);
  /* The kernel would write into memory that is not ours any more. */
  if (n < 0)
    g_error ("io_getevents: %s", g_strerror (errno));
  for (long i = 0; i < n; i++)
    self->idle[self->n_idle++] = (struct iocb *) (guintptr) events[i].obj;
  *n_events = (guint) n;
}

gboolean
snap_async_read_run (SnapAsyncRead *self, int fd, const SnapReadPart *parts,
                     guint n, SnapReadFunc done, gpointer user_data,
                     GError **error)
{
  Run run = { fd, parts, n, done, user_data, NULL };
  struct io_event events[DEPTH];
  guint next = 0, n_events = 0;

  /* New ones are begun before what has come is looked at. */
  while (next < n || n_events > 0 || self->n_idle < DEPTH) {
    if (run.error == NULL)
      next += begin (self, &run, next);
    else
      next = n;
    for (guint i = 0; i < n_events; i++)
      finish_part (&run, &events[i]);
    n_events = 0;
    if (self->n_idle < DEPTH)
      reap (self, events, &n_events);
  }
  if (run.error == NULL)
    return TRUE;
  g_propagate_error (error, run.error);
  return FALSE;
}
