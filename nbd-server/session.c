/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/session.h"

#include "nbd-server/failure.h"
#include "nbd-server/socket.h"

/* Requests that follow each other are brought in together, up to so many bytes:
   the first ones are waited for. */
#define MAX_TOGETHER (2 * 1024 * 1024)

static void
add_source (SnapNbdSession *self, guint32 id, const SnapNbdContext *context)
{
  SnapNbdSource source = { .id = id, .kind = context->kind };

  if (context->base != NULL)
    source.pair =
        snap_export_find_pair (self->export, context->base, &source.error);
  g_array_append_val (self->sources, source);
}

static void
clear_source (gpointer source)
{
  g_clear_error (&((SnapNbdSource *) source)->error);
}

void
snap_nbd_session_init (SnapNbdSession *self, SnapNbdStream *stream,
                       const SnapNbdServerOptions *options,
                       SnapNbdCounters *counters, SnapNbdAgreement agreement)
{
  *self = (SnapNbdSession){
    .stream = stream,
    .options = options,
    .counters = counters,
    .style = agreement.style,
    .export = agreement.export,
    .size = agreement.size,
    .sources = g_array_new (FALSE, FALSE, sizeof (SnapNbdSource)),
  };
  g_array_set_clear_func (self->sources, clear_source);
  for (guint i = 0; i < agreement.contexts->len; i++)
    add_source (self, i + 1,
                &g_array_index (agreement.contexts, SnapNbdContext, i));
  g_array_unref (agreement.contexts);
  snap_nbd_sent_init (&self->sent, self->export);
  g_mutex_init (&self->output);
  g_mutex_init (&self->status);
}

/* What was read ahead in vain, too. */
static void
drop_pages (SnapNbdSession *self)
{
  SnapNbdAheadRange rest = snap_nbd_ahead_rest (&self->ahead);

  snap_nbd_sent_clear (&self->sent);
  if (!self->options->keep_pages)
    snap_export_drop_range (self->export, rest.offset, rest.length);
}

void
snap_nbd_session_clear (SnapNbdSession *self)
{
  g_array_unref (self->sources);
  drop_pages (self);
  snap_export_close (self->export);
  g_mutex_clear (&self->output);
  g_mutex_clear (&self->status);
}

/* ---- messages ---- */

gboolean
snap_nbd_session_is_broken (SnapNbdSession *self)
{
  return g_atomic_int_get (&self->broken);
}

gboolean
snap_nbd_session_break (SnapNbdSession *self, GError *error)
{
  if (g_atomic_int_compare_and_exchange (&self->broken, FALSE, TRUE))
    snap_nbd_socket_break (self->stream->fd);
  g_clear_error (&error);
  return FALSE;
}

gboolean
snap_nbd_session_send_parts (SnapNbdSession *self, struct iovec *parts,
                             int n_parts)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->output);
  GError *error = NULL;

  if (snap_nbd_session_is_broken (self))
    return FALSE;
  return self->stream->ops->write (self->stream, parts, n_parts, FALSE, &error)
         || snap_nbd_session_break (self, error);
}

gboolean
snap_nbd_session_send (SnapNbdSession *self, const void *data, gsize length)
{
  struct iovec part = { (void *) data, length };

  return snap_nbd_session_send_parts (self, &part, 1);
}

gboolean
snap_nbd_session_done (SnapNbdSession *self, const SnapNbdReplyTo *to)
{
  guint8 message[SNAP_NBD_MAX_HEADER];

  return snap_nbd_session_send (self, message, snap_nbd_put_done (message, to));
}

gboolean
snap_nbd_session_refuse (SnapNbdSession *self, const SnapNbdReplyTo *to,
                         SnapNbdError error, const char *text)
{
  guint8 message[SNAP_NBD_MAX_ERROR];

  snap_nbd_count (&self->counters->n_failures, 1);
  return snap_nbd_session_send (self, message,
                                snap_nbd_put_error (message, to, error, text));
}

gboolean
snap_nbd_session_fail (SnapNbdSession *self, const SnapNbdReplyTo *to,
                       const GError *error)
{
  if (self->options->log != NULL)
    self->options->log (error->message, self->options->log_data);
  return snap_nbd_session_refuse (self, to, snap_nbd_failure_code (error),
                                  snap_nbd_failure_text (error));
}

/* ---- requests ---- */

static void
prefetch (SnapNbdSession *self, guint64 offset, guint64 length)
{
  if (length > 0)
    snap_export_prefetch (self->export, offset, length,
                          self->options->keep_pages
                              ? SNAP_EXPORT_PAGES_TO_KEEP
                              : SNAP_EXPORT_PAGES_TO_DROP);
}

/* Pages that nobody asked for go like those that were sent. */
static void
drop_later (SnapNbdSession *self, SnapNbdAheadRange vain)
{
  g_autoptr (GMutexLocker) locker = NULL;
  SnapFileRange range;

  if (vain.length == 0 || self->options->keep_pages)
    return;
  locker = g_mutex_locker_new (&self->output);
  while (vain.length > 0
         && snap_export_file_range (self->export, vain.offset, vain.length,
                                    &range)) {
    snap_nbd_sent_add (&self->sent, &range);
    vain.offset += range.length;
    vain.length -= range.length;
  }
}

/* What a read counts for, so that a sum of some cannot wrap. */
static guint64
expected_of (const SnapNbdJob *job)
{
  return MIN (job->length, SNAP_NBD_MAX_PREFETCH);
}

void
snap_nbd_session_expect_no_more (SnapNbdSession *self)
{
  prefetch (self, self->soon.offset, self->soon.length);
  self->soon.length = 0;
}

/* A disk takes few long requests better than many short ones. */
static void
prefetch_soon (SnapNbdSession *self, SnapNbdAheadRange range)
{
  SnapNbdAheadRange *soon = &self->soon;

  if (range.length == 0)
    return;
  if (range.offset != soon->offset + soon->length
      || soon->length + range.length > MAX_TOGETHER) {
    snap_nbd_session_expect_no_more (self);
    soon->offset = range.offset;
  }
  soon->length += range.length;
}

void
snap_nbd_session_expect (SnapNbdSession *self, const SnapNbdJob *job)
{
  guint64 n = expected_of (job);
  SnapNbdAheadRange vain;
  SnapNbdAheadRange range;

  self->n_expected += n;
  if (self->n_expected > SNAP_NBD_MAX_PREFETCH)
    return;
  range = snap_nbd_ahead_ask (&self->ahead, job->offset, n, &vain);
  drop_later (self, vain);
  prefetch_soon (self, range);
}

void
snap_nbd_session_look_ahead (SnapNbdSession *self, const SnapNbdJob *job)
{
  guint64 n = expected_of (job);
  SnapNbdAheadRange range =
      snap_nbd_ahead_serve (&self->ahead, job->offset, n, self->size);

  self->n_expected -= n;
  prefetch (self, range.offset, range.length);
}

static void
serve_cache (SnapNbdSession *self, const SnapNbdJob *job)
{
  prefetch (self, job->offset, MIN (job->length, SNAP_NBD_MAX_PREFETCH));
  snap_nbd_session_done (self, &job->to);
}

void
snap_nbd_session_serve (SnapNbdSession *self, const SnapNbdJob *job)
{
  if (snap_nbd_session_is_broken (self))
    return;
  switch (job->type) {
  case SNAP_NBD_CMD_READ:
    snap_nbd_count (&self->counters->n_reads, 1);
    snap_nbd_session_read (self, job);
    return;
  case SNAP_NBD_CMD_BLOCK_STATUS:
    snap_nbd_count (&self->counters->n_statuses, 1);
    snap_nbd_session_status (self, job);
    return;
  default:
    snap_nbd_count (&self->counters->n_caches, 1);
    serve_cache (self, job);
    return;
  }
}

static gboolean
diffs_are_known (const SnapNbdSession *self)
{
  for (guint i = 0; i < self->sources->len; i++) {
    SnapExportPair *pair = g_array_index (self->sources, SnapNbdSource, i).pair;

    if (pair != NULL && !snap_export_pair_is_known (pair))
      return FALSE;
  }
  return TRUE;
}

gboolean
snap_nbd_session_is_quick (SnapNbdSession *self, const SnapNbdJob *job)
{
  SnapFileRange range;

  switch (job->type) {
  case SNAP_NBD_CMD_READ:
    return self->stream->ops->send_file != NULL
           && snap_export_file_range (self->export, job->offset, job->length,
                                      &range);
  case SNAP_NBD_CMD_BLOCK_STATUS:
    return diffs_are_known (self);
  default:
    return TRUE;
  }
}
