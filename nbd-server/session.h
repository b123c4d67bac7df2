/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection that is past its handshake: what was agreed on, and replies
 * that several threads send in turns.
 */
#ifndef NBD_SERVER_SESSION_H
#define NBD_SERVER_SESSION_H

#include "nbd-server/ahead.h"
#include "nbd-server/counters.h"
#include "nbd-server/handshake.h"
#include "nbd-server/sent.h"
#include "nbd-server/server.h"
#include "nbd-server/stream.h"
#include "snapshot-core/service/export.h"

/* A context as it is answered. */
typedef struct {
  guint32 id;
  SnapNbdContextKind kind;
  SnapExportPair *pair; /* NULL for allocation, and with an error */
  GError *error;        /* what became of a comparison that was chosen */
} SnapNbdSource;

typedef struct {
  SnapNbdStream *stream; /* borrowed */
  const SnapNbdServerOptions *options;
  SnapNbdStyle style;
  SnapExport *export;
  guint64 size;
  GArray *sources; /* SnapNbdSource */

  SnapNbdAhead ahead;        /* of the thread that reads requests */
  guint64 n_expected;        /* the same: bytes of reads that wait */
  SnapNbdAheadRange soon;    /* the same: what to bring in next */
  SnapNbdSent sent;          /* under `output` */
  gboolean has_sent_file;    /* under `output`: the socket may refer to pages */
  GMutex output;             /* held while a message is written */
  GMutex status;             /* one answer at a time is put together */
  gint broken;               /* atomic: no message can be written any more */
  SnapNbdCounters *counters; /* the server's */
} SnapNbdSession;

/* Take over what was agreed on. */
void snap_nbd_session_init (SnapNbdSession *self, SnapNbdStream *stream,
                            const SnapNbdServerOptions *options,
                            SnapNbdCounters *counters,
                            SnapNbdAgreement agreement);
void snap_nbd_session_clear (SnapNbdSession *self);

/* One request to be served. */
typedef struct {
  SnapNbdReplyTo to;
  guint16 type;
  guint16 flags;
  guint64 offset, length;
  guint64 wanted; /* of a status request: bit i, context i + 1 */
} SnapNbdJob;

/* Serve it, whatever it is: all but the end of the connection. */
void snap_nbd_session_serve (SnapNbdSession *self, const SnapNbdJob *job);

/* A read has been asked for, and what it needs is to be brought in: neighbours
   together, and not more than SNAP_NBD_MAX_PREFETCH of all those that wait.
   Like the next two, only for the thread that reads requests. */
void snap_nbd_session_expect (SnapNbdSession *self, const SnapNbdJob *job);

/* For now, no more are asked for: begin with the last ones, too. */
void snap_nbd_session_expect_no_more (SnapNbdSession *self);

/* Its turn has come: begin to bring in what may be asked for next. */
void snap_nbd_session_look_ahead (SnapNbdSession *self, const SnapNbdJob *job);

/* Whether it will neither compute nor wait for more than a disk. */
gboolean snap_nbd_session_is_quick (SnapNbdSession *self,
                                    const SnapNbdJob *job);

/* ---- messages, each whole; FALSE when the connection is broken ---- */

gboolean snap_nbd_session_send (SnapNbdSession *self, const void *data,
                                gsize length);
gboolean snap_nbd_session_send_parts (SnapNbdSession *self, struct iovec *parts,
                                      int n_parts);
gboolean snap_nbd_session_done (SnapNbdSession *self, const SnapNbdReplyTo *to);
gboolean snap_nbd_session_refuse (SnapNbdSession *self,
                                  const SnapNbdReplyTo *to, SnapNbdError error,
                                  const char *text);

/* Tell the client that it failed, and the server's log why. */
gboolean snap_nbd_session_fail (SnapNbdSession *self, const SnapNbdReplyTo *to,
                                const GError *error);

/* Whether no client is there any more to answer to. */
gboolean snap_nbd_session_is_broken (SnapNbdSession *self);

/* Note that a write failed: everything that waits fails.  Returns FALSE. */
gboolean snap_nbd_session_break (SnapNbdSession *self, GError *error);

/* ---- the commands ---- */

void snap_nbd_session_read (SnapNbdSession *self, const SnapNbdJob *job);
void snap_nbd_session_status (SnapNbdSession *self, const SnapNbdJob *job);

#endif
