/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arbitrary bytes as a stream of requests, whole or in pieces: what is taken
 * does not depend on the pieces, and what passes the check lies inside.
 *
 * The first byte says the style, the second how long the pieces are.
 */
#include "config.h"

#include "nbd-server/protocol.h"
#include "tests/fuzz/fuzz-target.h"

#define SIZE (G_GUINT64_CONSTANT (1) << 40)

/* What identifies a stream that was taken. */
typedef struct {
  guint64 n_requests;
  guint64 sum;
  gboolean broken;
} Taken;

static void
check_payload (const SnapNbdRequest *request)
{
  guint32 ids[SNAP_NBD_MAX_CONTEXTS];
  guint64 length;
  gsize n_ids;

  if (snap_nbd_status_payload_parse (request, &length, ids, &n_ids)
      && (n_ids > SNAP_NBD_MAX_CONTEXTS
          || 8 + 4 * n_ids != request->payload_length))
    abort ();
}

static void
check_request (const SnapNbdRequest *request, SnapNbdStyle style)
{
  const char *why = NULL;
  SnapNbdError error = snap_nbd_request_check (request, style, SIZE, &why);

  if ((error == SNAP_NBD_OK) != (why == NULL))
    abort ();
  if (error == SNAP_NBD_OK
      && (request->offset > SIZE || request->length > SIZE - request->offset))
    abort ();
  if (request->payload_length > SNAP_NBD_MAX_PAYLOAD)
    abort ();
  check_payload (request);
}

static void
note (Taken *self, const SnapNbdRequest *request)
{
  self->n_requests++;
  self->sum = self->sum * 31 + request->cookie + request->offset
              + request->length + request->flags + request->type
              + request->payload_length + (request->payload != NULL);
}

/* Take all there is in the input.  FALSE when it is broken. */
static gboolean
take_all (SnapNbdRequests *requests, GByteArray *input, Taken *taken)
{
  g_autofree guint8 *copy = g_memdup2 (input->data, input->len);
  SnapBytes in = { .at = copy, .left = input->len };
  SnapNbdTake result;
  SnapNbdRequest request;

  while ((result = snap_nbd_requests_take (requests, &in, &request))
         == SNAP_NBD_TAKEN) {
    check_request (&request, requests->style);
    note (taken, &request);
  }
  if (result == SNAP_NBD_TAKE_MORE && in.left >= SNAP_NBD_MAX_REQUEST)
    abort ();
  g_byte_array_remove_range (input, 0, input->len - in.left);
  taken->broken = result == SNAP_NBD_TAKE_BROKEN;
  return !taken->broken;
}

static Taken
take_in_pieces (SnapNbdStyle style, const uint8_t *data, gsize size,
                gsize piece)
{
  g_autoptr (GByteArray) input = g_byte_array_new ();
  SnapNbdRequests requests = { .style = style };
  Taken taken = { 0 };

  for (gsize at = 0; at < size; at += piece) {
    g_byte_array_append (input, data + at, MIN (piece, size - at));
    if (!take_all (&requests, input, &taken))
      break;
  }
  return taken;
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  Taken whole, pieces;

  if (size <= 2)
    return 0;
  whole = take_in_pieces (data[0] % 3, data + 2, size - 2, size);
  pieces = take_in_pieces (data[0] % 3, data + 2, size - 2, 1 + data[1]);
  if (whole.n_requests != pieces.n_requests || whole.sum != pieces.sum
      || whole.broken != pieces.broken)
    abort ();
  return 0;
}
