/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * READ: a plan of pieces, holes and data; each becomes a chunk, or several.
 */
#include "config.h"

#include "nbd-server/session.h"

/* What is read into memory at a time; a request served takes no more. */
#define BUFFER (256 * 1024)

/* A shorter hole costs more as a chunk of its own than as zeroes. */
#define MIN_HOLE (16 * 1024)

/* More pieces than this are not looked for: the rest is data. */
#define MAX_PIECES 512

typedef struct {
  guint64 offset, length;
  gboolean is_hole;
} Piece;

/* ---- the plan ---- */

typedef struct {
  GArray *pieces;
  guint64 at; /* planned up to here */
} Plan;

static void
plan_up_to (Plan *self, guint64 end, gboolean is_hole)
{
  const Piece piece = { self->at, end - self->at, is_hole };

  if (piece.length > 0)
    g_array_append_val (self->pieces, piece);
  self->at = end;
}

/* A SnapExtentFunc.  Data is planned when a hole after it is seen, so that it
   is one piece. */
static gboolean
plan_extent (const SnapExtent *extent, gpointer plan, GError **error)
{
  Plan *self = plan;

  if (extent->flags & SNAP_EXTENT_ZERO && extent->length >= MIN_HOLE) {
    plan_up_to (self, extent->offset, FALSE);
    plan_up_to (self, extent->offset + extent->length, TRUE);
  }
  return self->pieces->len < MAX_PIECES;
}

static GArray *
make_plan (SnapNbdSession *session, const SnapNbdJob *job, GError **error)
{
  g_autoptr (GArray) pieces = g_array_new (FALSE, FALSE, sizeof (Piece));
  Plan plan = { pieces, job->offset };

  if (job->length >= MIN_HOLE
      && !snap_export_allocation (session->export, job->offset, job->length,
                                  plan_extent, &plan, error))
    return NULL;
  plan_up_to (&plan, job->offset + job->length, FALSE);
  return g_steal_pointer (&pieces);
}

/* ---- writing; the output is held ---- */

static gboolean
write_bytes (SnapNbdSession *session, const void *header, gsize header_length,
             const void *data, gsize length, gboolean more, GError **error)
{
  struct iovec parts[] = { { (void *) header, header_length },
                           { (void *) data, length } };

  return session->stream->ops->write (session->stream, parts, 2, more, error);
}

static void
count_data (SnapNbdSession *session, guint64 length)
{
  snap_nbd_count (&session->counters->bytes_sent, (gint64) length);
}

/* The file range at @offset, of at most what one chunk carries. */
static gboolean
find_range (SnapNbdSession *session, guint64 offset, guint64 length,
            SnapFileRange *range)
{
  return session->stream->ops->send_file != NULL
         && snap_export_file_range (session->export, offset,
                                    MIN (length, SNAP_NBD_MAX_PAYLOAD), range);
}

static gboolean
write_range (SnapNbdSession *session, const void *header, gsize header_length,
             const SnapFileRange *range, GError **error)
{
  struct iovec part = { (void *) header, header_length };

  if (header_length > 0
      && !session->stream->ops->write (session->stream, &part, 1, TRUE, error))
    return FALSE;
  if (!session->options->keep_pages)
    snap_export_note (session->export, range);
  session->has_sent_file = TRUE;
  if (!session->stream->ops->send_file (session->stream, range->fd,
                                        range->fd_offset, range->length, error))
    return FALSE;
  if (!session->options->keep_pages)
    snap_nbd_sent_add (&session->sent, range);
  return TRUE;
}

/* ---- chunks ---- */

/* A file that fails while its chunk is on the way ends the connection: the
   client has been told that data comes. */
static gboolean
send_range (SnapNbdSession *session, const SnapNbdJob *job, guint64 offset,
            const SnapFileRange *range, gboolean is_last)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&session->output);
  guint8 header[SNAP_NBD_MAX_HEADER];
  gsize n =
      snap_nbd_put_data (header, &job->to, offset, range->length, is_last);
  GError *error = NULL;

  if (snap_nbd_session_is_broken (session))
    return FALSE;
  if (!write_range (session, header, n, range, &error))
    return snap_nbd_session_break (session, error);
  count_data (session, range->length);
  return TRUE;
}

static gboolean
send_buffer (SnapNbdSession *session, const SnapNbdJob *job, guint64 offset,
             const guint8 *buffer, gsize length, gboolean is_last)
{
  guint8 header[SNAP_NBD_MAX_HEADER];
  gsize n = snap_nbd_put_data (header, &job->to, offset, length, is_last);
  struct iovec parts[] = { { header, n }, { (void *) buffer, length } };

  count_data (session, length);
  return snap_nbd_session_send_parts (session, parts, G_N_ELEMENTS (parts));
}

static gboolean
send_hole (SnapNbdSession *session, const SnapNbdJob *job, const Piece *piece,
           gboolean is_last)
{
  guint64 end = piece->offset + piece->length;

  for (guint64 at = piece->offset; at < end;) {
    guint32 length = MIN (end - at, SNAP_NBD_MAX_PAYLOAD);
    guint8 message[SNAP_NBD_MAX_HEADER];
    gsize n = snap_nbd_put_hole (message, &job->to, at, length,
                                 is_last && at + length == end);

    if (!snap_nbd_session_send (session, message, n))
      return FALSE;
    at += length;
  }
  return TRUE;
}

/* Chunks of file ranges, or of what is read.  FALSE with an error: it is to be
   told; without: the connection is broken. */
static gboolean
send_data (SnapNbdSession *session, const SnapNbdJob *job, const Piece *piece,
           gboolean is_last, GError **error)
{
  g_autofree guint8 *buffer = NULL;
  guint64 at = piece->offset, end = at + piece->length;

  while (at < end) {
    SnapFileRange range = { .length = MIN (end - at, BUFFER) };

    if (find_range (session, at, end - at, &range)) {
      if (!send_range (session, job, at, &range,
                       is_last && at + range.length == end))
        return FALSE;
    }
    else {
      if (buffer == NULL)
        buffer = g_malloc (range.length);
      if (!snap_export_read (session->export, at, buffer, range.length, error)
          || !send_buffer (session, job, at, buffer, range.length,
                           is_last && at + range.length == end))
        return FALSE;
    }
    at += range.length;
  }
  return TRUE;
}

static void
read_in_chunks (SnapNbdSession *session, const SnapNbdJob *job)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GArray) pieces = make_plan (session, job, &error);
  gboolean going = pieces != NULL;

  for (guint i = 0; going && i < pieces->len; i++) {
    const Piece *piece = &g_array_index (pieces, Piece, i);
    gboolean is_last = i + 1 == pieces->len;

    going = piece->is_hole ? send_hole (session, job, piece, is_last)
                           : send_data (session, job, piece, is_last, &error);
  }
  if (error != NULL)
    snap_nbd_session_fail (session, &job->to, error);
}

/* ---- in one piece ---- */

/* Everything at and after @at; the output is held and the header written. */
static gboolean
write_rest (SnapNbdSession *session, const SnapNbdJob *job, guint64 at,
            guint8 *buffer, GError **error)
{
  guint64 end = job->offset + job->length;

  while (at < end) {
    SnapFileRange range = { .length = MIN (end - at, BUFFER) };

    if (find_range (session, at, end - at, &range)) {
      if (!write_range (session, NULL, 0, &range, error))
        return FALSE;
    }
    else if (!snap_export_read (session->export, at, buffer, range.length,
                                error)
             || !write_bytes (session, NULL, 0, buffer, range.length,
                              at + range.length < end, error))
      return FALSE;
    at += range.length;
  }
  return TRUE;
}

/* The first part is there before the header goes: most failures are told. */
static void
read_in_one_piece (SnapNbdSession *session, const SnapNbdJob *job)
{
  gsize first = MIN (job->length, BUFFER);
  g_autofree guint8 *buffer = g_malloc (first);
  guint8 header[SNAP_NBD_MAX_HEADER];
  gsize n =
      snap_nbd_put_data (header, &job->to, job->offset, job->length, TRUE);
  g_autoptr (GMutexLocker) locker = NULL;
  GError *error = NULL;

  if (!snap_export_read (session->export, job->offset, buffer, first, &error)) {
    snap_nbd_session_fail (session, &job->to, error);
    g_error_free (error);
    return;
  }
  locker = g_mutex_locker_new (&session->output);
  if (snap_nbd_session_is_broken (session))
    return;
  count_data (session, job->length);
  if (!write_bytes (session, header, n, buffer, first, first < job->length,
                    &error)
      || !write_rest (session, job, job->offset + first, buffer, &error))
    snap_nbd_session_break (session, error);
}

/* A range of a file as the whole of a simple reply. */
static gboolean
read_plainly (SnapNbdSession *session, const SnapNbdJob *job)
{
  SnapFileRange range;

  return find_range (session, job->offset, job->length, &range)
         && range.length == job->length
         && (send_range (session, job, job->offset, &range, TRUE) || TRUE);
}

void
snap_nbd_session_read (SnapNbdSession *self, const SnapNbdJob *job)
{
  if (job->length == 0)
    snap_nbd_session_done (self, &job->to);
  else if (job->to.style != SNAP_NBD_SIMPLE
           && !(job->flags & SNAP_NBD_CMD_FLAG_DF))
    read_in_chunks (self, job);
  else if (!read_plainly (self, job))
    read_in_one_piece (self, job);
}
