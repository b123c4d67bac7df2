/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handshake as a state machine: bytes of a client in, bytes for the
 * client and a step out.
 *
 * Pure: what there is to negotiate about is behind a table of functions.  No
 * order of options leads anywhere but into a reply, the transmission, or the
 * end.
 */
#ifndef NBD_SERVER_HANDSHAKE_H
#define NBD_SERVER_HANDSHAKE_H

#include "nbd-server/context.h"
#include "nbd-server/protocol.h"
#include "nbd-server/security.h"

typedef struct {
  guint64 size;
  const char *name;        /* the one that a list has; borrowed */
  const char *description; /* borrowed */
} SnapNbdExportInfo;

/* Both return FALSE for "enough". */
typedef gboolean (*SnapNbdNameFunc) (const char *name, const char *description,
                                     gpointer user_data);
typedef gboolean (*SnapNbdBaseFunc) (const char *base, gpointer user_data);

/* What a client may have.  Exports are pointers of the owner's choice. */
typedef struct {
  void (*list) (gpointer data, SnapNbdNameFunc func, gpointer user_data);

  /* NULL: there is none, or not now.  *info is good until close. */
  gpointer (*open) (gpointer data, const char *name, SnapNbdExportInfo *info);
  void (*close) (gpointer data, gpointer export);

  /* What an export can be compared with. */
  void (*list_bases) (gpointer export, SnapNbdBaseFunc func,
                      gpointer user_data);
  gboolean (*has_base) (gpointer export, const char *base);
} SnapNbdOffer;

/* What came out of it. */
typedef struct {
  SnapNbdStyle style;
  gpointer export;
  guint64 size;
  GArray *contexts; /* SnapNbdContext; ids count from 1 */
} SnapNbdAgreement;

typedef enum {
  SNAP_NBD_STEP_MORE,         /* nothing was taken: a message is not complete */
  SNAP_NBD_STEP_DONE,         /* one message was taken */
  SNAP_NBD_STEP_TLS,          /* one was, and after the reply TLS begins */
  SNAP_NBD_STEP_TRANSMISSION, /* after the reply come requests */
  SNAP_NBD_STEP_CLOSE,        /* after the reply, if any, nothing */
} SnapNbdStep;

/* A message of a client is never longer. */
#define SNAP_NBD_MAX_MESSAGE (SNAP_NBD_OPTION_HEADER + SNAP_NBD_MAX_OPTION)

typedef struct _SnapNbdHandshake SnapNbdHandshake;

/* @offer and @data outlive it. */
SnapNbdHandshake *snap_nbd_handshake_new (const SnapNbdOffer *offer,
                                          gpointer data, SnapNbdTls tls);
void snap_nbd_handshake_free (SnapNbdHandshake *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapNbdHandshake, snap_nbd_handshake_free)

/* Take at most one message off the front of @in, append the reply to @out. */
SnapNbdStep snap_nbd_handshake_feed (SnapNbdHandshake *self, SnapBytes *in,
                                     GByteArray *out);

/* TLS has begun: whatever was agreed on in the clear is void. */
void snap_nbd_handshake_secured (SnapNbdHandshake *self);

/* After SNAP_NBD_STEP_TRANSMISSION, once: the caller closes the export and
   unrefs the array. */
SnapNbdAgreement snap_nbd_handshake_take (SnapNbdHandshake *self);

#endif
