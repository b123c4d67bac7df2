/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Network Block Device protocol as bytes: its numbers, and functions from
 * messages to bytes and back.
 *
 * Pure: no I/O, no state, no allocation that a peer can size.  After the
 * specification, doc/proto.md of the NBD project, and for extended headers its
 * branch extension-ext-header.
 */
#ifndef NBD_SERVER_PROTOCOL_H
#define NBD_SERVER_PROTOCOL_H

#include "snapshot-core/base/bytes.h"

/* ---- numbers ---- */

#define SNAP_NBD_MAGIC G_GUINT64_CONSTANT (0x4e42444d41474943)
#define SNAP_NBD_OPTION_MAGIC G_GUINT64_CONSTANT (0x49484156454f5054)
#define SNAP_NBD_OPTION_REPLY_MAGIC G_GUINT64_CONSTANT (0x3e889045565a9)
#define SNAP_NBD_REQUEST_MAGIC 0x25609513u
#define SNAP_NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71u
#define SNAP_NBD_SIMPLE_REPLY_MAGIC 0x67446698u
#define SNAP_NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu
#define SNAP_NBD_EXTENDED_REPLY_MAGIC 0x6e8a278cu

/* Handshake flags; a client answers with the same bits. */
enum {
  SNAP_NBD_FIXED_NEWSTYLE = 1 << 0,
  SNAP_NBD_NO_ZEROES = 1 << 1,
};

enum {
  SNAP_NBD_FLAG_HAS_FLAGS = 1 << 0,
  SNAP_NBD_FLAG_READ_ONLY = 1 << 1,
  SNAP_NBD_FLAG_SEND_DF = 1 << 7,
  SNAP_NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
  SNAP_NBD_FLAG_SEND_CACHE = 1 << 10,
  SNAP_NBD_FLAG_BLOCK_STATUS_PAYLOAD = 1 << 12,
};

enum {
  SNAP_NBD_OPT_EXPORT_NAME = 1,
  SNAP_NBD_OPT_ABORT = 2,
  SNAP_NBD_OPT_LIST = 3,
  SNAP_NBD_OPT_STARTTLS = 5,
  SNAP_NBD_OPT_INFO = 6,
  SNAP_NBD_OPT_GO = 7,
  SNAP_NBD_OPT_STRUCTURED_REPLY = 8,
  SNAP_NBD_OPT_LIST_META_CONTEXT = 9,
  SNAP_NBD_OPT_SET_META_CONTEXT = 10,
  SNAP_NBD_OPT_EXTENDED_HEADERS = 11,
};

#define SNAP_NBD_REP_ACK 1u
#define SNAP_NBD_REP_SERVER 2u
#define SNAP_NBD_REP_INFO 3u
#define SNAP_NBD_REP_META_CONTEXT 4u
#define SNAP_NBD_REP_ERROR (1u << 31)
#define SNAP_NBD_REP_ERR_UNSUP (SNAP_NBD_REP_ERROR + 1)
#define SNAP_NBD_REP_ERR_POLICY (SNAP_NBD_REP_ERROR + 2)
#define SNAP_NBD_REP_ERR_INVALID (SNAP_NBD_REP_ERROR + 3)
#define SNAP_NBD_REP_ERR_TLS_REQD (SNAP_NBD_REP_ERROR + 5)
#define SNAP_NBD_REP_ERR_UNKNOWN (SNAP_NBD_REP_ERROR + 6)
#define SNAP_NBD_REP_ERR_SHUTDOWN (SNAP_NBD_REP_ERROR + 7)
#define SNAP_NBD_REP_ERR_TOO_BIG (SNAP_NBD_REP_ERROR + 9)
#define SNAP_NBD_REP_ERR_EXT_HEADER_REQD (SNAP_NBD_REP_ERROR + 10)

enum {
  SNAP_NBD_INFO_EXPORT = 0,
  SNAP_NBD_INFO_NAME = 1,
  SNAP_NBD_INFO_DESCRIPTION = 2,
  SNAP_NBD_INFO_BLOCK_SIZE = 3,
};

enum {
  SNAP_NBD_CMD_READ = 0,
  SNAP_NBD_CMD_WRITE = 1,
  SNAP_NBD_CMD_DISC = 2,
  SNAP_NBD_CMD_FLUSH = 3,
  SNAP_NBD_CMD_TRIM = 4,
  SNAP_NBD_CMD_CACHE = 5,
  SNAP_NBD_CMD_WRITE_ZEROES = 6,
  SNAP_NBD_CMD_BLOCK_STATUS = 7,
};

enum {
  SNAP_NBD_CMD_FLAG_DF = 1 << 2,
  SNAP_NBD_CMD_FLAG_REQ_ONE = 1 << 3,
  SNAP_NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5,
};

enum {
  SNAP_NBD_REPLY_NONE = 0,
  SNAP_NBD_REPLY_OFFSET_DATA = 1,
  SNAP_NBD_REPLY_OFFSET_HOLE = 2,
  SNAP_NBD_REPLY_BLOCK_STATUS = 5,
  SNAP_NBD_REPLY_BLOCK_STATUS_EXT = 6,
  SNAP_NBD_REPLY_ERROR = (1 << 15) + 1,
};
#define SNAP_NBD_REPLY_FLAG_DONE 1

/* base:allocation */
enum {
  SNAP_NBD_STATE_HOLE = 1 << 0,
  SNAP_NBD_STATE_ZERO = 1 << 1,
};

typedef enum {
  SNAP_NBD_OK = 0,
  SNAP_NBD_EPERM = 1,
  SNAP_NBD_EIO = 5,
  SNAP_NBD_ENOMEM = 12,
  SNAP_NBD_EINVAL = 22,
  SNAP_NBD_EOVERFLOW = 75,
  SNAP_NBD_ENOTSUP = 95,
  SNAP_NBD_ESHUTDOWN = 108,
} SnapNbdError;

/* ---- limits ---- */

/* The longest string of the protocol. */
#define SNAP_NBD_MAX_STRING 4096

/* What of an option is kept in memory; a longer one is refused, and skipped
   as long as it is no longer than the second. */
#define SNAP_NBD_MAX_OPTION (64 * 1024)
#define SNAP_NBD_MAX_SKIPPED (16 * 1024 * 1024)

/* Queries in one option, and contexts of one connection. */
#define SNAP_NBD_MAX_QUERIES 256
#define SNAP_NBD_MAX_CONTEXTS 64

/* The most data in one message, either way: what every client can take. */
#define SNAP_NBD_MAX_PAYLOAD (32 * 1024 * 1024)

/* What a client brings into the page cache at a time, bytes: by a request, or
   by all those that were read at once. */
#define SNAP_NBD_MAX_PREFETCH (64 * 1024 * 1024)

/* Descriptors in one chunk.  Some clients refuse 2^20, which the protocol
   allows. */
#define SNAP_NBD_MAX_EXTENTS (1024 * 1024 - 1)

/* ---- handshake: from the client ---- */

#define SNAP_NBD_OPTION_HEADER 16

/* The data of INFO and GO.  The name is borrowed and may hold any bytes. */
typedef struct {
  const guint8 *name;
  guint32 name_length;
  gboolean wants_name, wants_description, wants_block_size;
} SnapNbdInfoRequest;

/* FALSE if it is malformed. */
gboolean snap_nbd_info_request_parse (const guint8 *data, gsize length,
                                      SnapNbdInfoRequest *request);

/* The data of LIST_META_CONTEXT and SET_META_CONTEXT; `queries` is what is
   left to take. */
typedef struct {
  const guint8 *name;
  guint32 name_length;
  guint32 n_queries;
  SnapBytes queries;
} SnapNbdQueries;

/* FALSE if it is malformed, up to the last byte of the last query. */
gboolean snap_nbd_queries_parse (const guint8 *data, gsize length,
                                 SnapNbdQueries *queries);

/* Borrow the next query of those that were counted. */
const guint8 *snap_nbd_queries_take (SnapNbdQueries *queries, guint32 *length);

/* A string of the wire as one of ours; NULL if it is too long or has a NUL.
   The caller frees. */
char *snap_nbd_string_dup (const guint8 *data, gsize length);

/* ---- handshake: to the client, appended to @out ---- */

void snap_nbd_append_greeting (GByteArray *out);

/* The answer to EXPORT_NAME. */
void snap_nbd_append_export (GByteArray *out, guint64 size, guint16 flags,
                             gboolean no_zeroes);

void snap_nbd_append_reply (GByteArray *out, guint32 option, guint32 type,
                            const void *data, gsize length);

/* An error with a text for people, cut to what a string may be. */
void snap_nbd_append_error (GByteArray *out, guint32 option, guint32 type,
                            const char *text);
void snap_nbd_append_server (GByteArray *out, const char *name,
                             const char *description);
void snap_nbd_append_info_export (GByteArray *out, guint32 option, guint64 size,
                                  guint16 flags);
void snap_nbd_append_info_text (GByteArray *out, guint32 option, guint16 info,
                                const char *text);
void snap_nbd_append_info_block_size (GByteArray *out, guint32 option,
                                      guint32 minimum, guint32 preferred,
                                      guint32 maximum);
void snap_nbd_append_context (GByteArray *out, guint32 option, guint32 id,
                              const char *name);

/* ---- transmission: from the client ---- */

/* How requests and replies look, as negotiated. */
typedef enum {
  SNAP_NBD_SIMPLE,
  SNAP_NBD_STRUCTURED,
  SNAP_NBD_EXTENDED,
} SnapNbdStyle;

typedef struct {
  guint16 flags;
  guint16 type;
  guint64 cookie;
  guint64 offset;
  guint64 length; /* of the effect; 0 where it is in the payload */
  guint64 payload_length;
  const guint8 *payload; /* borrowed from the input; NULL if it was too long
                            to keep */
} SnapNbdRequest;

/* The longest payload that means something to us: names all contexts. */
#define SNAP_NBD_MAX_KEPT_PAYLOAD (8 + 4 * SNAP_NBD_MAX_CONTEXTS)

/* The longest message that snap_nbd_requests_take() waits for. */
#define SNAP_NBD_MAX_REQUEST (32 + SNAP_NBD_MAX_KEPT_PAYLOAD)

/* A stream of requests. */
typedef struct {
  SnapNbdStyle style;
  gboolean is_skipping; /* a payload that nobody wants, for: */
  SnapNbdRequest skipped_for;
  guint64 to_skip; /* of it, yet to come */
} SnapNbdRequests;

typedef enum {
  SNAP_NBD_TAKEN,
  SNAP_NBD_TAKE_MORE,   /* @in ends inside of a message */
  SNAP_NBD_TAKE_BROKEN, /* no request, or a payload beyond the limit */
} SnapNbdTake;

/*
 * Take one request off the front of @in.  Of a message that is not complete,
 * everything but a payload that nobody wants stays in @in.
 *
 * A request is taken after its payload: some clients cannot take a reply while
 * they are still sending.
 */
SnapNbdTake snap_nbd_requests_take (SnapNbdRequests *self, SnapBytes *in,
                                    SnapNbdRequest *request);

/* What a BLOCK_STATUS with a payload asks for.  FALSE if it is malformed. */
gboolean snap_nbd_status_payload_parse (const SnapNbdRequest *request,
                                        guint64 *length, guint32 *ids,
                                        gsize *n_ids);

/* Whether a request is legal on an export of @size bytes; if not, a text for
   people is in *why. */
SnapNbdError snap_nbd_request_check (const SnapNbdRequest *request,
                                     SnapNbdStyle style, guint64 size,
                                     const char **why);

/* ---- transmission: to the client, put into a buffer ---- */

/* What a reply takes from its request. */
typedef struct {
  SnapNbdStyle style;
  guint64 cookie;
  guint64 offset;
} SnapNbdReplyTo;

/* The longest of what follows but for errors and extents. */
#define SNAP_NBD_MAX_HEADER 48
#define SNAP_NBD_MAX_ERROR (32 + 6 + SNAP_NBD_MAX_STRING)

/* Each returns how many bytes it put. */
gsize snap_nbd_put_simple (guint8 *out, const SnapNbdReplyTo *to,
                           SnapNbdError error);

/* Success without data, and nothing to follow. */
gsize snap_nbd_put_done (guint8 *out, const SnapNbdReplyTo *to);

/* An error, and nothing to follow; @text may be NULL. */
gsize snap_nbd_put_error (guint8 *out, const SnapNbdReplyTo *to,
                          SnapNbdError error, const char *text);

/* The begin of a chunk that @length bytes of data follow. */
gsize snap_nbd_put_data (guint8 *out, const SnapNbdReplyTo *to, guint64 offset,
                         guint32 length, gboolean is_last);

/* The same in full for zeroes. */
gsize snap_nbd_put_hole (guint8 *out, const SnapNbdReplyTo *to, guint64 offset,
                         guint32 length, gboolean is_last);

/* The begin of a chunk that @n_extents descriptors follow. */
gsize snap_nbd_put_status (guint8 *out, const SnapNbdReplyTo *to,
                           guint32 context_id, guint32 n_extents,
                           gboolean is_last);

typedef struct {
  guint64 length; /* below 2^32 unless headers are extended */
  guint32 flags;
} SnapNbdExtent;

/* 8 bytes each, or 16 with extended headers. */
#define SNAP_NBD_MAX_EXTENT 16
gsize snap_nbd_put_extents (guint8 *out, SnapNbdStyle style,
                            const SnapNbdExtent *extents, gsize n_extents);

#endif
