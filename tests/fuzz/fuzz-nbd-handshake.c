/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client that sends arbitrary bytes in arbitrary pieces: every reply is well
 * formed, nothing borrowed is kept, and every export that was opened is closed.
 *
 * The first byte says how TLS is offered, and how long the pieces are.
 */
#include "config.h"

#include "nbd-server/handshake.h"
#include "tests/fuzz/fuzz-target.h"
#include "tests/unit/nbd-offer.h"

/* Of all that is sent; more is only slower. */
#define MAX_REPLIES (16 * 1024 * 1024)

static void
check_replies (const GByteArray *out)
{
  SnapBytes in = { .at = out->data, .left = out->len };

  while (in.left > 0) {
    if (snap_bytes_take_be64 (&in) != SNAP_NBD_OPTION_REPLY_MAGIC)
      abort ();
    snap_bytes_take_be32 (&in);
    snap_bytes_take_be32 (&in);
    snap_bytes_take (&in, snap_bytes_take_be32 (&in));
    if (in.failed)
      abort ();
  }
}

static void
check_agreement (SnapNbdHandshake *handshake, NbdOfferUse *use)
{
  SnapNbdAgreement agreement = snap_nbd_handshake_take (handshake);

  if (agreement.export == NULL || agreement.size != NBD_OFFER_SIZE
      || agreement.contexts->len > SNAP_NBD_MAX_CONTEXTS
      || (agreement.contexts->len > 0 && agreement.style == SNAP_NBD_SIMPLE))
    abort ();
  g_array_unref (agreement.contexts);
  nbd_offer.close (use, agreement.export);
}

/* An EXPORT_NAME alone has a reply without a header. */
static gboolean
is_plain (const GByteArray *out)
{
  return out->len == 10 || out->len == 134;
}

/* One message off the front of an exactly sized copy.  FALSE at the end. */
static gboolean
step (SnapNbdHandshake *handshake, NbdOfferUse *use, GByteArray *input,
      gsize *n_replied)
{
  g_autofree guint8 *copy = g_memdup2 (input->data, input->len);
  g_autoptr (GByteArray) out = g_byte_array_new ();
  SnapBytes in = { .at = copy, .left = input->len };
  SnapNbdStep taken = snap_nbd_handshake_feed (handshake, &in, out);

  if (taken == SNAP_NBD_STEP_MORE) {
    if (in.left != input->len || in.left >= SNAP_NBD_MAX_MESSAGE)
      abort ();
    return FALSE;
  }
  if (taken != SNAP_NBD_STEP_CLOSE && in.left >= input->len)
    abort ();
  g_byte_array_remove_range (input, 0, input->len - in.left);
  *n_replied += out->len;
  if (taken != SNAP_NBD_STEP_TRANSMISSION || !is_plain (out))
    check_replies (out);
  if (taken == SNAP_NBD_STEP_TLS)
    snap_nbd_handshake_secured (handshake);
  if (taken == SNAP_NBD_STEP_TRANSMISSION)
    check_agreement (handshake, use);
  if (taken == SNAP_NBD_STEP_TRANSMISSION || taken == SNAP_NBD_STEP_CLOSE)
    *n_replied = MAX_REPLIES;
  return *n_replied < MAX_REPLIES;
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
  NbdOfferUse use = { 0 };
  g_autoptr (GByteArray) input = g_byte_array_new ();
  SnapNbdHandshake *handshake;
  gsize n_replied = 0, piece, at = 1;

  if (size == 0)
    return 0;
  handshake = snap_nbd_handshake_new (&nbd_offer, &use, data[0] % 3);
  piece = data[0] < 128 ? size : 1 + (gsize) data[0] / 3;
  while (at < size && n_replied < MAX_REPLIES) {
    gsize n = MIN (piece, size - at);

    g_byte_array_append (input, data + at, n);
    at += n;
    while (step (handshake, &use, input, &n_replied))
      continue;
  }
  snap_nbd_handshake_free (handshake);
  if (use.n_open != 0)
    abort ();
  return 0;
}
