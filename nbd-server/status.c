/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * BLOCK_STATUS: one chunk for each context, all of the same coverage.
 */
#include "config.h"

#include "nbd-server/runs.h"
#include "nbd-server/session.h"

/* How many descriptors are encoded at a time. */
#define BATCH 4096

/* Bit 0 of what runs say about a comparison; dirty is its absence. */
#define CLEAN 1

typedef struct {
  SnapNbdSession *session;
  const SnapNbdJob *job;
  gboolean hides_holes;
  guint n_answers;
  const SnapNbdSource *sources[SNAP_NBD_MAX_CONTEXTS];
  SnapNbdRuns answers[SNAP_NBD_MAX_CONTEXTS];
} Status;

/* ---- one context ---- */

/* Tools that add up allocation and dirtiness skip what is a hole, also where it
   is dirty, and keep the old bytes there.  That it is zero is said anyway. */
typedef struct {
  SnapNbdRuns *runs;
  gboolean hides_holes;
} Allocation;

/* A SnapExtentFunc; FALSE without an error is "enough". */
static gboolean
add_allocation (const SnapExtent *extent, gpointer allocation, GError **error)
{
  const Allocation *self = allocation;
  guint32 flags = extent->flags & SNAP_EXTENT_ZERO ? SNAP_NBD_STATE_ZERO : 0;

  if (extent->flags & SNAP_EXTENT_HOLE && !self->hides_holes)
    flags |= SNAP_NBD_STATE_HOLE;
  snap_nbd_runs_add (self->runs, extent->offset + extent->length, flags);
  return snap_nbd_runs_want_more (self->runs);
}

static gboolean
answer_allocation (const Status *self, SnapNbdRuns *runs, GError **error)
{
  Allocation allocation = { runs, self->hides_holes };

  return snap_export_allocation (self->session->export, runs->at,
                                 snap_nbd_runs_limit (runs) - runs->at,
                                 add_allocation, &allocation, error);
}

/* The padding is not clean: where the base was larger, it holds other bytes
   there. */
static gboolean
answer_comparison (const Status *self, const SnapNbdSource *source,
                   SnapNbdRuns *runs, GError **error)
{
  const SnapExtents *dirty = snap_export_pair_dirty (source->pair, error);
  guint64 size = snap_export_image_size (self->session->export);
  guint64 end = snap_nbd_runs_limit (runs);
  gsize n;

  if (dirty == NULL)
    return FALSE;
  if (source->kind == SNAP_NBD_CONTEXT_DIRTY)
    runs->inverted = CLEAN;
  n = snap_extents_n (dirty);
  for (gsize i = snap_extents_find (dirty, runs->at);
       i < n && runs->at < end && snap_nbd_runs_want_more (runs); i++) {
    const SnapExtent *extent = snap_extents_at (dirty, i);

    snap_nbd_runs_add (runs, MIN (extent->offset, end), CLEAN);
    snap_nbd_runs_add (runs, MIN (extent->offset + extent->length, end), 0);
  }
  if (snap_nbd_runs_want_more (runs)) {
    snap_nbd_runs_add (runs, MIN (size, end), CLEAN);
    snap_nbd_runs_add (runs, end, 0);
  }
  return TRUE;
}

/* ---- all of them ---- */

static void
choose_sources (Status *self)
{
  const GArray *sources = self->session->sources;

  for (guint i = 0; i < sources->len; i++) {
    const SnapNbdSource *source = &g_array_index (sources, SnapNbdSource, i);

    if (source->kind != SNAP_NBD_CONTEXT_ALLOCATION)
      self->hides_holes = TRUE;
    if (self->job->wanted & G_GUINT64_CONSTANT (1) << i)
      self->sources[self->n_answers++] = source;
  }
}

/* A later context never says more than an earlier one; then those are cut to
   what the last one said. */
static gboolean
answer_all (Status *self, GError **error)
{
  const SnapNbdJob *job = self->job;
  guint64 end = job->offset + job->length;
  gsize max_extents = job->flags & SNAP_NBD_CMD_FLAG_REQ_ONE
                          ? 1
                          : SNAP_NBD_MAX_EXTENTS / MAX (self->n_answers, 1);

  for (guint i = 0; i < self->n_answers; i++) {
    const SnapNbdSource *source = self->sources[i];
    SnapNbdRuns *runs = &self->answers[i];

    snap_nbd_runs_init (runs, job->offset, end, SNAP_EXPORT_BLOCK, max_extents);
    if (!(source->kind == SNAP_NBD_CONTEXT_ALLOCATION
              ? answer_allocation (self, runs, error)
              : answer_comparison (self, source, runs, error)))
      return FALSE;
    end = snap_nbd_runs_finish (runs);
  }
  for (guint i = 0; i + 1 < self->n_answers; i++)
    snap_nbd_runs_trim (&self->answers[i], end);
  return TRUE;
}

/* ---- sending ---- */

static gboolean
write_extents (SnapNbdSession *session, const GArray *extents, gboolean more,
               GError **error)
{
  guint8 bytes[BATCH * SNAP_NBD_MAX_EXTENT];

  for (guint i = 0; i < extents->len; i += BATCH) {
    guint n = MIN (BATCH, extents->len - i);
    struct iovec part = { bytes, 0 };

    part.iov_len = snap_nbd_put_extents (
        bytes, session->style, &g_array_index (extents, SnapNbdExtent, i), n);
    if (!session->stream->ops->write (session->stream, &part, 1,
                                      more || i + n < extents->len, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
write_answer (const Status *self, guint index, gboolean is_last, GError **error)
{
  SnapNbdSession *session = self->session;
  const GArray *extents = self->answers[index].extents;
  guint8 header[SNAP_NBD_MAX_HEADER];
  struct iovec part = { header, 0 };

  part.iov_len = snap_nbd_put_status (
      header, &self->job->to, self->sources[index]->id, extents->len, is_last);
  return session->stream->ops->write (session->stream, &part, 1, TRUE, error)
         && write_extents (session, extents, !is_last, error);
}

static void
send_answers (const Status *self)
{
  SnapNbdSession *session = self->session;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&session->output);
  GError *error = NULL;

  for (guint i = 0; i < self->n_answers; i++)
    if (snap_nbd_session_is_broken (session)
        || !write_answer (self, i, i + 1 == self->n_answers, &error)) {
      snap_nbd_session_break (session, error);
      return;
    }
}

/* Make the comparisons before anything that others wait for is held. */
static gboolean
make_comparisons (const Status *self, GError **error)
{
  for (guint i = 0; i < self->n_answers; i++) {
    const SnapNbdSource *source = self->sources[i];

    if (source->error != NULL) {
      g_propagate_error (error, g_error_copy (source->error));
      return FALSE;
    }
    if (source->pair != NULL
        && snap_export_pair_dirty (source->pair, error) == NULL)
      return FALSE;
  }
  return TRUE;
}

void
snap_nbd_session_status (SnapNbdSession *self, const SnapNbdJob *job)
{
  g_autofree Status *status = g_new0 (Status, 1);
  g_autoptr (GMutexLocker) locker = NULL;
  g_autoptr (GError) error = NULL;

  status->session = self;
  status->job = job;
  choose_sources (status);
  if (make_comparisons (status, &error)) {
    locker = g_mutex_locker_new (&self->status);
    if (answer_all (status, &error))
      send_answers (status);
  }
  if (error != NULL)
    snap_nbd_session_fail (self, &job->to, error);
  for (guint i = 0; i < status->n_answers; i++)
    snap_nbd_runs_clear (&status->answers[i]);
}
