/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the handshake: its state, and the options about contexts.
 */
#ifndef NBD_SERVER_HANDSHAKE_PRIVATE_H
#define NBD_SERVER_HANDSHAKE_PRIVATE_H

#include "nbd-server/handshake.h"

struct _SnapNbdHandshake {
  const SnapNbdOffer *offer;
  gpointer data; /* of the offer */
  SnapNbdTls tls;

  gboolean has_flags; /* the client's were taken */
  gboolean no_zeroes;
  gboolean secured;
  guint n_options;
  guint32 to_skip; /* data of an option that was refused for its length */

  SnapNbdAgreement agreement;
  char *contexts_of; /* the export that contexts were chosen for, or NULL */
};

/* An option with all of its data, and where the reply goes. */
typedef struct {
  guint32 code;
  guint32 length;
  const guint8 *data;
  GByteArray *out;
} Option;

SnapNbdStep snap_nbd_option_refuse (Option *option, guint32 type,
                                    const char *text);
SnapNbdStep snap_nbd_option_acknowledge (Option *option);

/* Open what a client calls by some bytes, or NULL. */
gpointer snap_nbd_handshake_open (SnapNbdHandshake *self, const guint8 *name,
                                  gsize length, SnapNbdExportInfo *info);

/* LIST_META_CONTEXT and SET_META_CONTEXT. */
SnapNbdStep snap_nbd_handshake_contexts (SnapNbdHandshake *self,
                                         Option *option);

#endif
