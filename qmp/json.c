/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/json.h"

static JsonNode *
get_value (JsonObject *object, const char *member, GType type)
{
  JsonNode *node = json_object_get_member (object, member);

  return node != NULL && json_node_get_value_type (node) == type ? node : NULL;
}

JsonObject *
qmp_json_as_object (JsonNode *node)
{
  return node != NULL && JSON_NODE_HOLDS_OBJECT (node)
             ? json_node_get_object (node)
             : NULL;
}

const char *
qmp_json_string (JsonObject *object, const char *member)
{
  JsonNode *node = get_value (object, member, G_TYPE_STRING);

  return node == NULL ? NULL : json_node_get_string (node);
}

JsonObject *
qmp_json_object (JsonObject *object, const char *member)
{
  return qmp_json_as_object (json_object_get_member (object, member));
}

JsonArray *
qmp_json_array (JsonObject *object, const char *member)
{
  JsonNode *node = json_object_get_member (object, member);

  return node != NULL && JSON_NODE_HOLDS_ARRAY (node)
             ? json_node_get_array (node)
             : NULL;
}

gboolean
qmp_json_boolean (JsonObject *object, const char *member)
{
  JsonNode *node = get_value (object, member, G_TYPE_BOOLEAN);

  return node != NULL && json_node_get_boolean (node);
}

gint64
qmp_json_size (JsonObject *object, const char *member, gint64 or_else)
{
  JsonNode *node = get_value (object, member, G_TYPE_INT64);

  return node == NULL || json_node_get_int (node) < 0
             ? or_else
             : json_node_get_int (node);
}
