/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/protocol.h"

#include <string.h>

/* ---- from the client ---- */

static void
note_info (SnapNbdInfoRequest *request, guint16 info)
{
  switch (info) {
  case SNAP_NBD_INFO_NAME:
    request->wants_name = TRUE;
    break;
  case SNAP_NBD_INFO_DESCRIPTION:
    request->wants_description = TRUE;
    break;
  case SNAP_NBD_INFO_BLOCK_SIZE:
    request->wants_block_size = TRUE;
    break;
  default: /* always sent, or unknown and to be ignored */
    break;
  }
}

gboolean
snap_nbd_info_request_parse (const guint8 *data, gsize length,
                             SnapNbdInfoRequest *request)
{
  SnapBytes in = { .at = data, .left = length };
  guint16 n_infos;

  *request = (SnapNbdInfoRequest){ 0 };
  request->name_length = snap_bytes_take_be32 (&in);
  request->name = snap_bytes_take (&in, request->name_length);
  n_infos = snap_bytes_take_be16 (&in);
  if (in.failed || in.left != (gsize) n_infos * 2)
    return FALSE;
  for (guint i = 0; i < n_infos; i++)
    note_info (request, snap_bytes_take_be16 (&in));
  return TRUE;
}

gboolean
snap_nbd_queries_parse (const guint8 *data, gsize length,
                        SnapNbdQueries *queries)
{
  SnapBytes in = { .at = data, .left = length };

  *queries = (SnapNbdQueries){ 0 };
  queries->name_length = snap_bytes_take_be32 (&in);
  queries->name = snap_bytes_take (&in, queries->name_length);
  queries->n_queries = snap_bytes_take_be32 (&in);
  queries->queries = in;
  /* A query has at least its length: no count takes longer than the data. */
  for (guint32 i = 0; i < queries->n_queries && !in.failed; i++)
    snap_bytes_take (&in, snap_bytes_take_be32 (&in));
  return !in.failed && in.left == 0;
}

const guint8 *
snap_nbd_queries_take (SnapNbdQueries *queries, guint32 *length)
{
  *length = snap_bytes_take_be32 (&queries->queries);
  return snap_bytes_take (&queries->queries, *length);
}

char *
snap_nbd_string_dup (const guint8 *data, gsize length)
{
  if (length == 0)
    return g_strdup ("");
  if (length > SNAP_NBD_MAX_STRING || memchr (data, '\0', length) != NULL)
    return NULL;
  return g_strndup ((const char *) data, length);
}

/* ---- to the client ---- */

static void
append_be16 (GByteArray *out, guint16 value)
{
  const guint16 big = GUINT16_TO_BE (value);

  g_byte_array_append (out, (const guint8 *) &big, sizeof big);
}

static void
append_be32 (GByteArray *out, guint32 value)
{
  const guint32 big = GUINT32_TO_BE (value);

  g_byte_array_append (out, (const guint8 *) &big, sizeof big);
}

static void
append_be64 (GByteArray *out, guint64 value)
{
  const guint64 big = GUINT64_TO_BE (value);

  g_byte_array_append (out, (const guint8 *) &big, sizeof big);
}

static void
append_text (GByteArray *out, const char *text)
{
  g_byte_array_append (out, (const guint8 *) text, strlen (text));
}

static void
append_header (GByteArray *out, guint32 option, guint32 type, guint32 length)
{
  append_be64 (out, SNAP_NBD_OPTION_REPLY_MAGIC);
  append_be32 (out, option);
  append_be32 (out, type);
  append_be32 (out, length);
}

void
snap_nbd_append_greeting (GByteArray *out)
{
  append_be64 (out, SNAP_NBD_MAGIC);
  append_be64 (out, SNAP_NBD_OPTION_MAGIC);
  append_be16 (out, SNAP_NBD_FIXED_NEWSTYLE | SNAP_NBD_NO_ZEROES);
}

void
snap_nbd_append_export (GByteArray *out, guint64 size, guint16 flags,
                        gboolean no_zeroes)
{
  static const guint8 zeroes[124];

  append_be64 (out, size);
  append_be16 (out, flags);
  if (!no_zeroes)
    g_byte_array_append (out, zeroes, sizeof zeroes);
}

void
snap_nbd_append_reply (GByteArray *out, guint32 option, guint32 type,
                       const void *data, gsize length)
{
  append_header (out, option, type, length);
  if (length > 0)
    g_byte_array_append (out, data, length);
}

void
snap_nbd_append_error (GByteArray *out, guint32 option, guint32 type,
                       const char *text)
{
  snap_nbd_append_reply (out, option, type, text,
                         MIN (strlen (text), SNAP_NBD_MAX_STRING));
}

void
snap_nbd_append_server (GByteArray *out, const char *name,
                        const char *description)
{
  gsize length = strlen (name);

  append_header (out, SNAP_NBD_OPT_LIST, SNAP_NBD_REP_SERVER,
                 4 + length + strlen (description));
  append_be32 (out, length);
  append_text (out, name);
  append_text (out, description);
}

void
snap_nbd_append_info_export (GByteArray *out, guint32 option, guint64 size,
                             guint16 flags)
{
  append_header (out, option, SNAP_NBD_REP_INFO, 12);
  append_be16 (out, SNAP_NBD_INFO_EXPORT);
  append_be64 (out, size);
  append_be16 (out, flags);
}

void
snap_nbd_append_info_text (GByteArray *out, guint32 option, guint16 info,
                           const char *text)
{
  append_header (out, option, SNAP_NBD_REP_INFO, 2 + strlen (text));
  append_be16 (out, info);
  append_text (out, text);
}

void
snap_nbd_append_info_block_size (GByteArray *out, guint32 option,
                                 guint32 minimum, guint32 preferred,
                                 guint32 maximum)
{
  append_header (out, option, SNAP_NBD_REP_INFO, 14);
  append_be16 (out, SNAP_NBD_INFO_BLOCK_SIZE);
  append_be32 (out, minimum);
  append_be32 (out, preferred);
  append_be32 (out, maximum);
}

void
snap_nbd_append_context (GByteArray *out, guint32 option, guint32 id,
                         const char *name)
{
  append_header (out, option, SNAP_NBD_REP_META_CONTEXT, 4 + strlen (name));
  append_be32 (out, id);
  append_text (out, name);
}
