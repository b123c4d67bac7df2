/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the client share: a call is a command that was sent and
 * may be answered.
 */
#ifndef QMP_CLIENT_PRIVATE_H
#define QMP_CLIENT_PRIVATE_H

#include "qmp/channel.h"
#include "qmp/client.h"

typedef struct _QmpCall QmpCall;

struct _QmpCall {
  QmpClient *client;
  char *id;
  char *command;
  gboolean done;
  JsonNode *value;                /* the one, */
  GError *error;                  /* or the other, once it is done */
  void (*notify) (QmpCall *self); /* of being done; may be NULL */
  gpointer user_data;             /* of @notify */
};

/* Send @command.  Takes @arguments; @fds are borrowed. */
QmpCall *qmp_call_start (QmpClient *client, const char *command,
                         JsonObject *arguments, const int *fds, guint n_fds,
                         GError **error);

/* Its answer, if one still comes, is dropped. */
void qmp_call_free (QmpCall *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpCall, qmp_call_free)

/* Takes @error.  The first end of a call counts. */
void qmp_call_fail (QmpCall *self, GError *error);

/* What a call that is done has come to. */
JsonNode *qmp_call_take (QmpCall *self, GError **error);

QmpChannel *qmp_client_channel (QmpClient *self);

#endif
