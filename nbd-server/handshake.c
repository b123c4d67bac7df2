/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/handshake.h"

#include <string.h>

#include "nbd-server/handshake-private.h"

/* A client that goes on after this many options is up to no good. */
#define MAX_OPTIONS 1024

/* What clients should ask for; they may ask for any bytes. */
#define MINIMUM_BLOCK 1
#define PREFERRED_BLOCK (256 * 1024)

SnapNbdHandshake *
snap_nbd_handshake_new (const SnapNbdOffer *offer, gpointer data,
                        SnapNbdTls tls)
{
  SnapNbdHandshake *self = g_new0 (SnapNbdHandshake, 1);

  self->offer = offer;
  self->data = data;
  self->tls = tls;
  self->agreement.contexts = snap_nbd_contexts_new ();
  return self;
}

void
snap_nbd_handshake_free (SnapNbdHandshake *self)
{
  if (self == NULL)
    return;
  if (self->agreement.export != NULL)
    self->offer->close (self->data, self->agreement.export);
  g_clear_pointer (&self->agreement.contexts, g_array_unref);
  g_free (self->contexts_of);
  g_free (self);
}

void
snap_nbd_handshake_secured (SnapNbdHandshake *self)
{
  self->secured = TRUE;
  self->agreement.style = SNAP_NBD_SIMPLE;
  g_array_set_size (self->agreement.contexts, 0);
  g_clear_pointer (&self->contexts_of, g_free);
}

SnapNbdAgreement
snap_nbd_handshake_take (SnapNbdHandshake *self)
{
  SnapNbdAgreement agreement = self->agreement;

  self->agreement = (SnapNbdAgreement){ 0 };
  return agreement;
}

/* ---- replies ---- */

static SnapNbdStep
acknowledge (Option *option)
{
  snap_nbd_append_reply (option->out, option->code, SNAP_NBD_REP_ACK, NULL, 0);
  return SNAP_NBD_STEP_DONE;
}

SnapNbdStep
snap_nbd_option_refuse (Option *option, guint32 type, const char *text)
{
  snap_nbd_append_error (option->out, option->code, type, text);
  return SNAP_NBD_STEP_DONE;
}

SnapNbdStep
snap_nbd_option_acknowledge (Option *option)
{
  return acknowledge (option);
}

static SnapNbdStep
refuse_data (Option *option)
{
  return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_INVALID,
                                 "the option takes no data");
}

/* ---- options without an export ---- */

static SnapNbdStep
do_abort (SnapNbdHandshake *self, Option *option)
{
  acknowledge (option);
  return SNAP_NBD_STEP_CLOSE;
}

/* A name that the protocol cannot carry cannot be asked for either; one such
   must not take the others along. */
static gboolean
append_server (const char *name, const char *description, gpointer out)
{
  if (strlen (name) > SNAP_NBD_MAX_STRING)
    return TRUE;
  if (strlen (description) > SNAP_NBD_MAX_STRING)
    description = "";
  snap_nbd_append_server (out, name, description);
  return TRUE;
}

static SnapNbdStep
do_list (SnapNbdHandshake *self, Option *option)
{
  if (option->length > 0)
    return refuse_data (option);
  self->offer->list (self->data, append_server, option->out);
  return acknowledge (option);
}

static SnapNbdStep
do_starttls (SnapNbdHandshake *self, Option *option)
{
  if (option->length > 0)
    return refuse_data (option);
  if (self->secured)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_INVALID,
                                   "TLS has begun already");
  if (self->tls == SNAP_NBD_TLS_OFF)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_POLICY,
                                   "TLS is not offered here");
  acknowledge (option);
  return SNAP_NBD_STEP_TLS;
}

static SnapNbdStep
do_structured (SnapNbdHandshake *self, Option *option)
{
  if (option->length > 0)
    return refuse_data (option);
  if (self->agreement.style == SNAP_NBD_EXTENDED)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_EXT_HEADER_REQD,
                                   "extended headers are agreed on already");
  self->agreement.style = SNAP_NBD_STRUCTURED;
  return acknowledge (option);
}

static SnapNbdStep
do_extended (SnapNbdHandshake *self, Option *option)
{
  if (option->length > 0)
    return refuse_data (option);
  self->agreement.style = SNAP_NBD_EXTENDED;
  return acknowledge (option);
}

/* ---- choosing an export ---- */

gpointer
snap_nbd_handshake_open (SnapNbdHandshake *self, const guint8 *name,
                         gsize length, SnapNbdExportInfo *info)
{
  g_autofree char *text = snap_nbd_string_dup (name, length);

  return text != NULL ? self->offer->open (self->data, text, info) : NULL;
}

/* Contexts that were chosen for another export do not count for this one. */
static gboolean
has_contexts (const SnapNbdHandshake *self, const SnapNbdExportInfo *info)
{
  return self->agreement.contexts->len > 0
         && g_str_equal (self->contexts_of, info->name);
}

static guint16
transmission_flags (const SnapNbdHandshake *self, const SnapNbdExportInfo *info)
{
  guint16 flags = SNAP_NBD_FLAG_HAS_FLAGS | SNAP_NBD_FLAG_READ_ONLY
                  | SNAP_NBD_FLAG_CAN_MULTI_CONN | SNAP_NBD_FLAG_SEND_CACHE;

  if (self->agreement.style != SNAP_NBD_SIMPLE)
    flags |= SNAP_NBD_FLAG_SEND_DF;
  if (self->agreement.style == SNAP_NBD_EXTENDED && has_contexts (self, info))
    flags |= SNAP_NBD_FLAG_BLOCK_STATUS_PAYLOAD;
  return flags;
}

static SnapNbdStep
enter_transmission (SnapNbdHandshake *self, gpointer export,
                    const SnapNbdExportInfo *info)
{
  if (!has_contexts (self, info))
    g_array_set_size (self->agreement.contexts, 0);
  self->agreement.export = export;
  self->agreement.size = info->size;
  return SNAP_NBD_STEP_TRANSMISSION;
}

/* There is no way to refuse but to leave. */
static SnapNbdStep
do_export_name (SnapNbdHandshake *self, Option *option)
{
  SnapNbdExportInfo info;
  gpointer export;

  if (self->agreement.style == SNAP_NBD_EXTENDED)
    return SNAP_NBD_STEP_CLOSE;
  export = snap_nbd_handshake_open (self, option->data, option->length, &info);
  if (export == NULL)
    return SNAP_NBD_STEP_CLOSE;
  snap_nbd_append_export (option->out, info.size,
                          transmission_flags (self, &info), self->no_zeroes);
  return enter_transmission (self, export, &info);
}

static void
append_infos (Option *option, guint16 flags, const SnapNbdInfoRequest *request,
              const SnapNbdExportInfo *info)
{
  snap_nbd_append_info_export (option->out, option->code, info->size, flags);
  if (request->wants_name && strlen (info->name) <= SNAP_NBD_MAX_STRING)
    snap_nbd_append_info_text (option->out, option->code, SNAP_NBD_INFO_NAME,
                               info->name);
  if (request->wants_description
      && strlen (info->description) <= SNAP_NBD_MAX_STRING)
    snap_nbd_append_info_text (option->out, option->code,
                               SNAP_NBD_INFO_DESCRIPTION, info->description);
  if (request->wants_block_size)
    snap_nbd_append_info_block_size (option->out, option->code, MINIMUM_BLOCK,
                                     PREFERRED_BLOCK, SNAP_NBD_MAX_PAYLOAD);
}

static SnapNbdStep
do_info (SnapNbdHandshake *self, Option *option)
{
  SnapNbdInfoRequest request;
  SnapNbdExportInfo info;
  gpointer export;

  if (!snap_nbd_info_request_parse (option->data, option->length, &request))
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_INVALID,
                                   "malformed request for information");
  export =
      snap_nbd_handshake_open (self, request.name, request.name_length, &info);
  if (export == NULL)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_UNKNOWN,
                                   "no such export");
  append_infos (option, transmission_flags (self, &info), &request, &info);
  acknowledge (option);
  if (option->code == SNAP_NBD_OPT_GO)
    return enter_transmission (self, export, &info);
  self->offer->close (self->data, export);
  return SNAP_NBD_STEP_DONE;
}

/* ---- the machine ---- */

static SnapNbdStep
do_option (SnapNbdHandshake *self, Option *option)
{
  switch (option->code) {
  case SNAP_NBD_OPT_EXPORT_NAME:
    return do_export_name (self, option);
  case SNAP_NBD_OPT_ABORT:
    return do_abort (self, option);
  case SNAP_NBD_OPT_LIST:
    return do_list (self, option);
  case SNAP_NBD_OPT_STARTTLS:
    return do_starttls (self, option);
  case SNAP_NBD_OPT_INFO:
  case SNAP_NBD_OPT_GO:
    return do_info (self, option);
  case SNAP_NBD_OPT_STRUCTURED_REPLY:
    return do_structured (self, option);
  case SNAP_NBD_OPT_LIST_META_CONTEXT:
  case SNAP_NBD_OPT_SET_META_CONTEXT:
    return snap_nbd_handshake_contexts (self, option);
  case SNAP_NBD_OPT_EXTENDED_HEADERS:
    return do_extended (self, option);
  default:
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_UNSUP,
                                   "no such option here");
  }
}

/* Without TLS, where it is required, there is only the way to it. */
static SnapNbdStep
do_option_securely (SnapNbdHandshake *self, Option *option)
{
  if (self->tls != SNAP_NBD_TLS_REQUIRE || self->secured
      || option->code == SNAP_NBD_OPT_STARTTLS
      || option->code == SNAP_NBD_OPT_ABORT)
    return do_option (self, option);
  if (option->code == SNAP_NBD_OPT_EXPORT_NAME)
    return SNAP_NBD_STEP_CLOSE;
  return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_TLS_REQD,
                                 "TLS is required");
}

static SnapNbdStep
take_flags (SnapNbdHandshake *self, SnapBytes *in)
{
  guint32 flags;

  if (in->left < 4)
    return SNAP_NBD_STEP_MORE;
  flags = snap_bytes_take_be32 (in);
  if (flags & ~(SNAP_NBD_FIXED_NEWSTYLE | SNAP_NBD_NO_ZEROES))
    return SNAP_NBD_STEP_CLOSE;
  self->has_flags = TRUE;
  self->no_zeroes = (flags & SNAP_NBD_NO_ZEROES) != 0;
  return SNAP_NBD_STEP_DONE;
}

/* Too long to be kept: answered now, its data thrown away as it comes. */
static SnapNbdStep
refuse_long (SnapNbdHandshake *self, Option *option)
{
  if (option->length > SNAP_NBD_MAX_SKIPPED
      || option->code == SNAP_NBD_OPT_EXPORT_NAME)
    return SNAP_NBD_STEP_CLOSE;
  self->to_skip = option->length;
  return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_TOO_BIG,
                                 "the option is too long");
}

static SnapNbdStep
take_option (SnapNbdHandshake *self, SnapBytes *in, GByteArray *out)
{
  SnapBytes rest = *in;
  guint64 magic = snap_bytes_take_be64 (&rest);
  Option option = { .out = out };

  option.code = snap_bytes_take_be32 (&rest);
  option.length = snap_bytes_take_be32 (&rest);
  if (rest.failed)
    return SNAP_NBD_STEP_MORE;
  if (magic != SNAP_NBD_OPTION_MAGIC)
    return SNAP_NBD_STEP_CLOSE;
  if (option.length <= SNAP_NBD_MAX_OPTION) {
    option.data = snap_bytes_take (&rest, option.length);
    if (rest.failed)
      return SNAP_NBD_STEP_MORE;
  }
  *in = rest;
  if (++self->n_options > MAX_OPTIONS)
    return SNAP_NBD_STEP_CLOSE;
  return option.length > SNAP_NBD_MAX_OPTION
             ? refuse_long (self, &option)
             : do_option_securely (self, &option);
}

static SnapNbdStep
skip_data (SnapNbdHandshake *self, SnapBytes *in)
{
  gsize n = MIN (self->to_skip, in->left);

  if (n == 0)
    return SNAP_NBD_STEP_MORE;
  snap_bytes_take (in, n);
  self->to_skip -= n;
  return SNAP_NBD_STEP_DONE;
}

SnapNbdStep
snap_nbd_handshake_feed (SnapNbdHandshake *self, SnapBytes *in, GByteArray *out)
{
  if (!self->has_flags)
    return take_flags (self, in);
  if (self->to_skip > 0)
    return skip_data (self, in);
  return take_option (self, in, out);
}
