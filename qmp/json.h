/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Members of JSON objects that a peer has sent, each taken only if it is what
 * it should be.  Everything returned is borrowed from the object.
 */
#ifndef QMP_JSON_H
#define QMP_JSON_H

#include <json-glib/json-glib.h>

/* The object that @node is, or NULL; @node may be NULL. */
JsonObject *qmp_json_as_object (JsonNode *node);

/* NULL if the member is not there or is something else. */
const char *qmp_json_string (JsonObject *object, const char *member);
JsonObject *qmp_json_object (JsonObject *object, const char *member);
JsonArray *qmp_json_array (JsonObject *object, const char *member);

/* FALSE also if it is not there or is something else. */
gboolean qmp_json_boolean (JsonObject *object, const char *member);

/* @or_else if it is not there, is something else, or is negative. */
gint64 qmp_json_size (JsonObject *object, const char *member, gint64 or_else);

#endif
