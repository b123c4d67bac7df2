/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/connection.h"

#include "nbd-server/input.h"
#include "nbd-server/offer.h"
#include "nbd-server/session.h"
#include "nbd-server/socket.h"
#include "nbd-server/workers.h"
#include "snapshot-core/base/error.h"

/* Requests of one client that are served at a time, and that wait for it; the
   reader then takes no more. */
#define MAX_WORKERS 4
#define MAX_QUEUED 16

/* Requests that were read and wait for their turn; more are looked for when
   few are left, so that the disk has them early. */
#define MAX_PENDING 128
#define FEW_PENDING 32

/* What of a client is still listened to after the server was told to end,
   bytes. */
#define MAX_LATE (64 * 1024)

/* How often it is looked whether a client has taken its last replies. */
#define FIRST_LOOK_MS 1
#define LAST_LOOK_MS 64

struct _SnapNbdConnection {
  SnapNbdTerms *terms;
  int socket; /* of the stream, whatever it is wrapped in */
  SnapNbdStream *stream;
  SnapNbdInput input;
  gint stopping; /* atomic */
  gint breaking; /* atomic */

  /* Past the handshake; used by the thread that reads. */
  SnapNbdSession session;
  SnapNbdWorkers *workers;
  SnapNbdRequests requests;
  GQueue pending; /* Pending */
  gsize late;     /* bytes that came after `stopping` was seen */
};

/* A request that waits for its turn, to be served or refused. */
typedef struct {
  SnapNbdJob job;
  SnapNbdError error;
  const char *why;
} Pending;

SnapNbdConnection *
snap_nbd_connection_new (int fd, SnapNbdTerms *terms)
{
  SnapNbdConnection *self = g_new0 (SnapNbdConnection, 1);

  self->terms = terms;
  self->socket = fd;
  self->stream = snap_nbd_stream_new (fd);
  return self;
}

void
snap_nbd_connection_free (SnapNbdConnection *self)
{
  if (self == NULL)
    return;
  snap_nbd_stream_close (self->stream);
  snap_nbd_input_clear (&self->input);
  g_free (self);
}

void
snap_nbd_connection_stop (SnapNbdConnection *self)
{
  g_atomic_int_set (&self->stopping, TRUE);
  snap_nbd_socket_end_input (self->socket);
}

void
snap_nbd_connection_break (SnapNbdConnection *self)
{
  g_atomic_int_set (&self->stopping, TRUE);
  g_atomic_int_set (&self->breaking, TRUE);
  snap_nbd_socket_break (self->socket);
}

/* ---- handshake ---- */

/* Read more before @deadline. */
static gboolean
fill_before (SnapNbdConnection *self, gint64 deadline)
{
  gint64 left_ms = (deadline - g_get_monotonic_time ()) / 1000;

  if (left_ms <= 0 || g_atomic_int_get (&self->stopping))
    return FALSE;
  snap_nbd_socket_set_timeout (self->socket, left_ms, left_ms);
  return snap_nbd_input_fill (&self->input, self->stream, SNAP_NBD_MAX_MESSAGE,
                              NULL)
         > 0;
}

/* Take one message and answer it. */
static SnapNbdStep
take_step (SnapNbdConnection *self, SnapNbdHandshake *handshake)
{
  SnapBytes view = snap_nbd_input_view (&self->input);
  g_autoptr (GByteArray) reply = g_byte_array_new ();
  SnapNbdStep step = snap_nbd_handshake_feed (handshake, &view, reply);

  snap_nbd_input_took (&self->input, &view);
  if (reply->len > 0
      && !snap_nbd_stream_write (self->stream, reply->data, reply->len, NULL))
    return SNAP_NBD_STEP_CLOSE;
  return step;
}

/* What a client sent in the clear ahead of time would pass for secured. */
static gboolean
begin_tls (SnapNbdConnection *self, SnapNbdHandshake *handshake)
{
  const SnapNbdServerOptions *options = &self->terms->options;
  g_autoptr (GError) error = NULL;
  SnapNbdStream *secured;

  if (snap_nbd_input_view (&self->input).left > 0)
    return FALSE;
  secured =
      self->terms->secure (self->stream, self->terms->secure_data, &error);
  if (secured == NULL && options->log != NULL)
    options->log (error->message, options->log_data);
  if (secured == NULL)
    return FALSE;
  self->stream = secured;
  snap_nbd_count (&self->terms->counters.n_secured, 1);
  snap_nbd_handshake_secured (handshake);
  return TRUE;
}

static gboolean
greet (SnapNbdConnection *self)
{
  g_autoptr (GByteArray) greeting = g_byte_array_new ();

  snap_nbd_append_greeting (greeting);
  return snap_nbd_stream_write (self->stream, greeting->data, greeting->len,
                                NULL);
}

/* TRUE when requests may come. */
static gboolean
negotiate (SnapNbdConnection *self, SnapNbdHandshake *handshake)
{
  gint64 deadline = g_get_monotonic_time ()
                    + (gint64) self->terms->options.handshake_timeout_ms * 1000;

  if (!greet (self))
    return FALSE;
  for (;;)
    switch (take_step (self, handshake)) {
    case SNAP_NBD_STEP_MORE:
      if (!fill_before (self, deadline))
        return FALSE;
      break;
    case SNAP_NBD_STEP_DONE:
      break;
    case SNAP_NBD_STEP_TLS:
      if (!begin_tls (self, handshake))
        return FALSE;
      break;
    case SNAP_NBD_STEP_TRANSMISSION:
      return TRUE;
    case SNAP_NBD_STEP_CLOSE:
      return FALSE;
    }
}

/* ---- requests ---- */

/* The contexts that a payload names, as bits. */
static SnapNbdError
take_payload (SnapNbdSession *session, const SnapNbdRequest *request,
              SnapNbdJob *job, const char **why)
{
  guint32 ids[SNAP_NBD_MAX_CONTEXTS];
  gsize n_ids;

  *why = "malformed payload";
  if (!snap_nbd_status_payload_parse (request, &job->length, ids, &n_ids))
    return SNAP_NBD_EINVAL;
  *why = "a context that was not chosen, or twice, or none";
  for (gsize i = 0; i < n_ids; i++) {
    guint64 bit = ids[i] == 0 || ids[i] > session->sources->len
                      ? 0
                      : G_GUINT64_CONSTANT (1) << (ids[i] - 1);

    if (bit == 0 || job->wanted & bit)
      return SNAP_NBD_EINVAL;
    job->wanted |= bit;
  }
  return n_ids > 0 ? SNAP_NBD_OK : SNAP_NBD_EINVAL;
}

static SnapNbdError
check_status (SnapNbdSession *session, const SnapNbdRequest *request,
              SnapNbdJob *job, const char **why)
{
  guint n = session->sources->len;

  if (n == 0) {
    *why = "no context was chosen";
    return SNAP_NBD_EINVAL;
  }
  if (request->flags & SNAP_NBD_CMD_FLAG_PAYLOAD_LEN)
    return take_payload (session, request, job, why);
  job->wanted = G_MAXUINT64 >> (64 - n);
  return SNAP_NBD_OK;
}

/* Fill the job as far as it goes, so that a refusal finds its request. */
static SnapNbdError
make_job (SnapNbdSession *session, const SnapNbdRequest *request,
          SnapNbdJob *job, const char **why)
{
  gboolean is_status = request->type == SNAP_NBD_CMD_BLOCK_STATUS;
  SnapNbdRequest checked = *request;
  SnapNbdError error = SNAP_NBD_OK;

  *job = (SnapNbdJob){
    .to = { session->style, request->cookie, request->offset },
    .type = request->type,
    .flags = request->flags,
    .offset = request->offset,
    .length = request->length,
  };
  if (is_status)
    error = check_status (session, request, job, why);
  if (error != SNAP_NBD_OK)
    return error;
  checked.length = job->length;
  error = snap_nbd_request_check (&checked, session->style, session->size, why);
  if (error == SNAP_NBD_OK && is_status && job->length == 0) {
    *why = "the status of nothing";
    return SNAP_NBD_EINVAL;
  }
  return error;
}

static void
serve_job (gpointer job, gpointer connection)
{
  SnapNbdConnection *self = connection;

  snap_nbd_session_serve (&self->session, job);
  g_free (job);
}

static void
take_on (SnapNbdConnection *self, const SnapNbdRequest *request)
{
  Pending *pending = g_new0 (Pending, 1);

  pending->error =
      make_job (&self->session, request, &pending->job, &pending->why);
  if (self->late > MAX_LATE) {
    pending->error = SNAP_NBD_ESHUTDOWN;
    pending->why = "the server ends";
  }
  if (pending->error == SNAP_NBD_OK && request->type == SNAP_NBD_CMD_READ)
    snap_nbd_session_expect (&self->session, &pending->job);
  g_queue_push_tail (&self->pending, pending);
}

static void
serve_next (SnapNbdConnection *self)
{
  g_autofree Pending *pending = g_queue_pop_head (&self->pending);
  const SnapNbdJob *job = &pending->job;

  if (pending->error != SNAP_NBD_OK) {
    snap_nbd_session_refuse (&self->session, &job->to, pending->error,
                             pending->why);
    return;
  }
  if (job->type == SNAP_NBD_CMD_READ)
    snap_nbd_session_look_ahead (&self->session, job);
  if (snap_nbd_session_is_quick (&self->session, job))
    snap_nbd_session_serve (&self->session, job);
  else
    snap_nbd_workers_push (self->workers, g_memdup2 (job, sizeof *job));
}

/* ---- reading them ---- */

/* Note what came.  Once the server ends, what the socket holds is answered:
   that was asked in time.  A client that goes on asking is told no. */
static gboolean
note_input (SnapNbdConnection *self, gssize n)
{
  if (n > 0 && g_atomic_int_get (&self->stopping))
    self->late += n;
  return n > 0;
}

/* FALSE at the end. */
static gboolean
fill (SnapNbdConnection *self)
{
  for (;;) {
    g_autoptr (GError) error = NULL;
    gssize n = snap_nbd_input_fill (&self->input, self->stream,
                                    SNAP_NBD_MAX_MESSAGE, &error);

    if (n >= 0)
      return note_input (self, n);
    /* Nothing came, which is no wonder while the client waits for us. */
    if (!g_error_matches (error, SNAP_ERROR, SNAP_ERROR_BUSY)
        || snap_nbd_workers_are_idle (self->workers))
      return FALSE;
  }
}

/* The same without waiting. */
static gboolean
fill_now (SnapNbdConnection *self)
{
  gssize n = snap_nbd_input_fill_now (&self->input, self->stream,
                                      SNAP_NBD_MAX_MESSAGE);

  return n < 0 || note_input (self, n);
}

/* FALSE when nothing can follow. */
static gboolean
take_apart (SnapNbdConnection *self)
{
  while (g_queue_get_length (&self->pending) < MAX_PENDING) {
    SnapBytes view = snap_nbd_input_view (&self->input);
    SnapNbdRequest request;
    SnapNbdTake taken =
        snap_nbd_requests_take (&self->requests, &view, &request);

    snap_nbd_input_took (&self->input, &view);
    if (taken == SNAP_NBD_TAKE_MORE)
      return TRUE;
    if (taken == SNAP_NBD_TAKE_BROKEN || request.type == SNAP_NBD_CMD_DISC)
      return FALSE;
    take_on (self, &request);
  }
  return TRUE;
}

static gboolean
take_input (SnapNbdConnection *self)
{
  gboolean more = take_apart (self);

  snap_nbd_session_expect_no_more (&self->session);
  return more;
}

/* Wait for requests only if there is none to be served. */
static gboolean
take_more (SnapNbdConnection *self)
{
  guint n = g_queue_get_length (&self->pending);

  if (n >= FEW_PENDING)
    return TRUE;
  if (!take_input (self))
    return FALSE;
  if (g_queue_get_length (&self->pending) > n)
    return TRUE;
  return (n > 0 ? fill_now (self) : fill (self)) && take_input (self);
}

static void
serve_requests (SnapNbdConnection *self)
{
  gboolean more = TRUE;

  while (!snap_nbd_session_is_broken (&self->session)) {
    more = more && take_more (self);
    if (!g_queue_is_empty (&self->pending))
      serve_next (self);
    else if (!more)
      return;
  }
}

/*
 * Wait until the client has taken what was sent from files: until then, whoever
 * rewrites those changes what it reads, and the export keeps them from that.
 * No event tells.
 */
static void
wait_until_taken (SnapNbdConnection *self)
{
  guint timeout_ms = self->terms->options.idle_timeout_ms;
  guint waited_ms = 0;

  if (!self->session.has_sent_file)
    return;
  snap_nbd_socket_end_output (self->socket);
  for (guint look_ms = FIRST_LOOK_MS; !snap_nbd_socket_is_taken (self->socket);
       look_ms = MIN (look_ms * 2, LAST_LOOK_MS)) {
    if (g_atomic_int_get (&self->breaking)
        || (timeout_ms > 0 && waited_ms >= timeout_ms))
      return;
    g_usleep (look_ms * 1000);
    waited_ms += look_ms;
  }
}

/* What was asked is answered before this returns. */
static void
transmit (SnapNbdConnection *self, SnapNbdAgreement agreement)
{
  guint idle_ms = self->terms->options.idle_timeout_ms;

  snap_nbd_socket_set_timeout (self->socket, idle_ms, idle_ms);
  snap_nbd_session_init (&self->session, self->stream, &self->terms->options,
                         &self->terms->counters, agreement);
  self->workers =
      snap_nbd_workers_new (MAX_WORKERS, MAX_QUEUED, serve_job, self);
  self->requests.style = self->session.style;
  serve_requests (self);
  g_queue_clear_full (&self->pending, g_free);
  g_clear_pointer (&self->workers, snap_nbd_workers_free);
  wait_until_taken (self);
  snap_nbd_session_clear (&self->session);
}

void
snap_nbd_connection_run (SnapNbdConnection *self)
{
  SnapNbdClient client = { .exports = self->terms->exports };
  g_autoptr (SnapNbdHandshake) handshake = snap_nbd_handshake_new (
      &snap_nbd_exports_offer, &client, self->terms->tls);
  gboolean agreed = negotiate (self, handshake);
  SnapNbdAgreement agreement =
      agreed ? snap_nbd_handshake_take (handshake) : (SnapNbdAgreement){ 0 };

  g_clear_pointer (&handshake, snap_nbd_handshake_free);
  snap_nbd_client_clear (&client);
  if (agreed)
    transmit (self, agreement);
  snap_nbd_socket_break (self->socket);
}
