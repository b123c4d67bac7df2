/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/protocol.h"

#define COMPACT_REQUEST 28
#define EXTENDED_REQUEST 32

/* ---- the stream ---- */

/* TRUE when all of it is gone. */
static gboolean
skip_payload (SnapNbdRequests *self, SnapBytes *in, SnapNbdRequest *request)
{
  gsize n = MIN (self->to_skip, in->left);

  snap_bytes_take (in, n);
  self->to_skip -= n;
  if (self->to_skip > 0)
    return FALSE;
  self->is_skipping = FALSE;
  *request = self->skipped_for;
  return TRUE;
}

/* FALSE if this is no request. */
static gboolean
take_header (SnapNbdRequests *self, SnapBytes *in, SnapNbdRequest *request)
{
  gboolean extended = self->style == SNAP_NBD_EXTENDED;
  guint32 magic = snap_bytes_take_be32 (in);

  *request = (SnapNbdRequest){ 0 };
  request->flags = snap_bytes_take_be16 (in);
  request->type = snap_bytes_take_be16 (in);
  request->cookie = snap_bytes_take_be64 (in);
  request->offset = snap_bytes_take_be64 (in);
  request->length =
      extended ? snap_bytes_take_be64 (in) : snap_bytes_take_be32 (in);
  return magic
         == (extended ? SNAP_NBD_EXTENDED_REQUEST_MAGIC
                      : SNAP_NBD_REQUEST_MAGIC);
}

/* A length in the header is either that of the effect or of the payload;
   for a write it is both. */
static void
settle_payload (const SnapNbdRequests *self, SnapNbdRequest *request)
{
  gboolean has_payload = self->style == SNAP_NBD_EXTENDED
                             ? request->flags & SNAP_NBD_CMD_FLAG_PAYLOAD_LEN
                             : request->type == SNAP_NBD_CMD_WRITE;

  if (!has_payload)
    return;
  request->payload_length = request->length;
  if (request->type != SNAP_NBD_CMD_WRITE)
    request->length = 0;
}

/* Only a status request says something in its payload. */
static gboolean
keeps_payload (const SnapNbdRequest *request)
{
  return request->type == SNAP_NBD_CMD_BLOCK_STATUS
         && request->payload_length <= SNAP_NBD_MAX_KEPT_PAYLOAD;
}

static SnapNbdTake
take_payload (SnapNbdRequests *self, SnapBytes *in, SnapNbdRequest *request)
{
  if (request->payload_length > SNAP_NBD_MAX_PAYLOAD)
    return SNAP_NBD_TAKE_BROKEN;
  if (!keeps_payload (request)) {
    self->is_skipping = TRUE;
    self->skipped_for = *request;
    self->to_skip = request->payload_length;
    return SNAP_NBD_TAKEN;
  }
  if (in->left < request->payload_length)
    return SNAP_NBD_TAKE_MORE;
  request->payload = snap_bytes_take (in, request->payload_length);
  return SNAP_NBD_TAKEN;
}

static SnapNbdTake
take_message (SnapNbdRequests *self, SnapBytes *in, SnapNbdRequest *request)
{
  gsize header =
      self->style == SNAP_NBD_EXTENDED ? EXTENDED_REQUEST : COMPACT_REQUEST;
  SnapBytes rest = *in;
  SnapNbdTake taken;

  if (in->left < header)
    return SNAP_NBD_TAKE_MORE;
  if (!take_header (self, &rest, request))
    return SNAP_NBD_TAKE_BROKEN;
  settle_payload (self, request);
  taken = take_payload (self, &rest, request);
  if (taken == SNAP_NBD_TAKEN)
    *in = rest;
  return taken;
}

SnapNbdTake
snap_nbd_requests_take (SnapNbdRequests *self, SnapBytes *in,
                        SnapNbdRequest *request)
{
  if (!self->is_skipping) {
    SnapNbdTake taken = take_message (self, in, request);

    if (taken != SNAP_NBD_TAKEN || !self->is_skipping)
      return taken;
  }
  return skip_payload (self, in, request) ? SNAP_NBD_TAKEN : SNAP_NBD_TAKE_MORE;
}

/* ---- what is legal ---- */

gboolean
snap_nbd_status_payload_parse (const SnapNbdRequest *request, guint64 *length,
                               guint32 *ids, gsize *n_ids)
{
  SnapBytes in = { .at = request->payload, .left = request->payload_length };

  if (request->payload == NULL || in.left < 8 || in.left % 4 != 0)
    return FALSE;
  *length = snap_bytes_take_be64 (&in);
  *n_ids = in.left / 4;
  for (gsize i = 0; i < *n_ids; i++)
    ids[i] = snap_bytes_take_be32 (&in);
  return TRUE;
}

static guint16
allowed_flags (const SnapNbdRequest *request, SnapNbdStyle style)
{
  if (request->type == SNAP_NBD_CMD_READ && style != SNAP_NBD_SIMPLE)
    return SNAP_NBD_CMD_FLAG_DF;
  if (request->type == SNAP_NBD_CMD_BLOCK_STATUS)
    return SNAP_NBD_CMD_FLAG_REQ_ONE
           | (style == SNAP_NBD_EXTENDED ? SNAP_NBD_CMD_FLAG_PAYLOAD_LEN : 0);
  return 0;
}

static SnapNbdError
check_length (const SnapNbdRequest *request, SnapNbdStyle style,
              const char **why)
{
  gboolean in_one_piece =
      style == SNAP_NBD_SIMPLE || request->flags & SNAP_NBD_CMD_FLAG_DF;

  if (request->type != SNAP_NBD_CMD_READ || !in_one_piece
      || request->length <= SNAP_NBD_MAX_PAYLOAD)
    return SNAP_NBD_OK;
  *why = "too long for one piece";
  return style == SNAP_NBD_SIMPLE ? SNAP_NBD_EINVAL : SNAP_NBD_EOVERFLOW;
}

SnapNbdError
snap_nbd_request_check (const SnapNbdRequest *request, SnapNbdStyle style,
                        guint64 size, const char **why)
{
  switch (request->type) {
  case SNAP_NBD_CMD_WRITE:
  case SNAP_NBD_CMD_TRIM:
  case SNAP_NBD_CMD_WRITE_ZEROES:
    *why = "the export is read-only";
    return SNAP_NBD_EPERM;
  case SNAP_NBD_CMD_READ:
  case SNAP_NBD_CMD_CACHE:
  case SNAP_NBD_CMD_BLOCK_STATUS:
    break;
  default:
    *why = "no such command here";
    return SNAP_NBD_EINVAL;
  }
  if (request->flags & ~allowed_flags (request, style)) {
    *why = "a flag that does not belong to the command";
    return SNAP_NBD_EINVAL;
  }
  if (request->offset > size || request->length > size - request->offset) {
    *why = "goes past the end of the export";
    return SNAP_NBD_EINVAL;
  }
  return check_length (request, style, why);
}
