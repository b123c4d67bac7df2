/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What tests of the monitor's client say, over a scripted peer.
 */
#ifndef TESTS_UNIT_QMP_ASSERT_H
#define TESTS_UNIT_QMP_ASSERT_H

#include "qmp/client.h"
#include "tests/unit/qmp-peer.h"

/* Takes @node, which may be NULL. */
char *qmp_text_of (JsonNode *node);

void qmp_assert_answer (QmpClient *client, const char *command,
                        const char *value);
void qmp_assert_failure (QmpClient *client, const char *command,
                         guint timeout_ms, int code);

/* A QmpEventFunc: @user_data is the name. */
gboolean qmp_event_is_named (const char *name, JsonObject *data,
                             gpointer user_data);
void qmp_assert_event (QmpClient *client, const char *name);

/* A client whose peer has answered "hello", so that it takes things as they
   should be. */
QmpClient *qmp_start_client (QmpScript script, QmpPeer **peer);

#endif
