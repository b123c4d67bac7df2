/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What comes from QEMU is taken only where it has the shape it should have.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include <string.h>

#include "qmp/json.h"

/* ---- errors ---- */

static SnapError
find_code (const GError *reason)
{
  switch ((QmpError) reason->code) {
  case QMP_ERROR_BUSY:
    return SNAP_ERROR_BUSY;
  case QMP_ERROR_GONE:
    return SNAP_ERROR_NOT_FOUND;
  case QMP_ERROR_PROTOCOL:
    return SNAP_ERROR_CORRUPT;
  case QMP_ERROR_NO_COMMAND:
    return SNAP_ERROR_UNSUPPORTED;
  case QMP_ERROR_CANCELLED:
    return SNAP_ERROR_CANCELLED;
  case QMP_ERROR_COMMAND:
  case QMP_ERROR_NOT_ACTIVE:
    return SNAP_ERROR_FAILED;
  case QMP_ERROR_TIMEOUT:
    break;
  }
  return SNAP_ERROR_IO;
}

gboolean
qemu_set_error (GError **error, GError *reason, const char *name)
{
  if (reason->domain == QMP_ERROR)
    snap_error_set (error, find_code (reason), "%s: %s", name, reason->message);
  else
    g_propagate_error (error, g_error_copy (reason));
  g_error_free (reason);
  return FALSE;
}

/* ---- the conversation ---- */

QemuSession *
qemu_session_open (const char *socket, GError **error)
{
  GError *reason = NULL;
  QmpMonitor *monitor = qmp_monitor_ref (socket, &reason);
  QemuSession *self;

  if (monitor == NULL) {
    qemu_set_error (error, reason, socket);
    return NULL;
  }
  self = g_new0 (QemuSession, 1);
  self->monitor = monitor;
  self->name = socket;
  qmp_monitor_lock (monitor);
  self->client = qmp_monitor_client (monitor);
  return self;
}

void
qemu_session_close (QemuSession *self)
{
  if (self == NULL)
    return;
  qmp_monitor_unlock (self->monitor);
  qmp_monitor_unref (self->monitor);
  g_free (self);
}

JsonNode *
qemu_ask (QemuSession *self, const char *command, JsonObject *arguments,
          GError **error)
{
  GError *reason = NULL;
  JsonNode *answer = qmp_client_execute (self->client, command, arguments,
                                         QMP_COMMAND_MS, &reason);

  if (answer == NULL)
    qemu_set_error (error, reason, self->name);
  return answer;
}

gboolean
qemu_do (QemuSession *self, const char *command, JsonObject *arguments,
         GError **error)
{
  g_autoptr (JsonNode) answer = qemu_ask (self, command, arguments, error);

  return answer != NULL;
}

gboolean
qemu_do_with_fd (QemuSession *self, const char *command, JsonObject *arguments,
                 int fd, JsonNode **answer, GError **error)
{
  GError *reason = NULL;

  *answer = qmp_client_execute_with_fds (self->client, command, arguments, &fd,
                                         1, QMP_COMMAND_MS, &reason);
  return *answer != NULL || qemu_set_error (error, reason, self->name);
}

JsonObject *
qemu_object (const char *member, ...)
{
  JsonObject *object = json_object_new ();
  va_list list;

  va_start (list, member);
  while (member != NULL) {
    const char *value = va_arg (list, const char *);

    if (value != NULL)
      json_object_set_string_member (object, member, value);
    member = value != NULL ? va_arg (list, const char *) : NULL;
  }
  va_end (list);
  return object;
}

/* ---- what there is ---- */

/* The members @key and @value of each object of a list, into @table. */
static gboolean
index_list (QemuSession *session, const char *command, const char *key,
            const char *value, GHashTable *table, GError **error)
{
  g_autoptr (JsonNode) answer = qemu_ask (session, command, NULL, error);
  JsonArray *list;

  if (answer == NULL)
    return FALSE;
  if (!JSON_NODE_HOLDS_ARRAY (answer))
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: %s: no list",
                           session->name, command);
  list = json_node_get_array (answer);
  for (guint i = 0; i < json_array_get_length (list); i++) {
    JsonObject *object = qmp_json_as_object (json_array_get_element (list, i));
    const char *id = object != NULL ? qmp_json_string (object, key) : NULL;
    const char *text = id != NULL ? qmp_json_string (object, value) : NULL;

    if (text != NULL)
      g_hash_table_insert (table, g_strdup (id), g_strdup (text));
  }
  return TRUE;
}

static gboolean
index_nodes (QemuView *self, QemuSession *session, GError **error)
{
  JsonObject *arguments = json_object_new ();
  JsonArray *list;

  json_object_set_boolean_member (arguments, "flat", TRUE);
  self->named = qemu_ask (session, "query-named-block-nodes", arguments, error);
  if (self->named == NULL)
    return FALSE;
  if (!JSON_NODE_HOLDS_ARRAY (self->named))
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: no list of nodes",
                           session->name);
  list = json_node_get_array (self->named);
  for (guint i = 0; i < json_array_get_length (list); i++) {
    JsonObject *node = qmp_json_as_object (json_array_get_element (list, i));
    const char *name =
        node != NULL ? qmp_json_string (node, "node-name") : NULL;

    if (name != NULL)
      g_hash_table_insert (self->nodes, (char *) name, node);
  }
  return TRUE;
}

/* What the statistics call the parent of a node is the child with its data. */
static gboolean
index_below (QemuView *self, QemuSession *session, GError **error)
{
  JsonObject *arguments = json_object_new ();
  g_autoptr (JsonNode) answer = NULL;
  JsonArray *list;

  json_object_set_boolean_member (arguments, "query-nodes", TRUE);
  answer = qemu_ask (session, "query-blockstats", arguments, error);
  if (answer == NULL)
    return FALSE;
  if (!JSON_NODE_HOLDS_ARRAY (answer))
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: no statistics",
                           session->name);
  list = json_node_get_array (answer);
  for (guint i = 0; i < json_array_get_length (list); i++) {
    JsonObject *at = qmp_json_as_object (json_array_get_element (list, i));
    JsonObject *child = at != NULL ? qmp_json_object (at, "parent") : NULL;
    const char *name = at != NULL ? qmp_json_string (at, "node-name") : NULL;
    const char *lower =
        child != NULL ? qmp_json_string (child, "node-name") : NULL;

    if (name != NULL && lower != NULL)
      g_hash_table_insert (self->below, g_strdup (name), g_strdup (lower));
  }
  return TRUE;
}

static gboolean
load (QemuView *self, QemuSession *session, GError **error)
{
  GError *reason = NULL;

  self->disks = qmp_disks_list (session->client, QMP_COMMAND_MS, &reason);
  if (self->disks == NULL)
    return qemu_set_error (error, reason, session->name);
  return index_nodes (self, session, error)
         && index_below (self, session, error)
         && index_list (session, "query-jobs", "id", "status", self->jobs,
                        error)
         && index_list (session, "query-block-exports", "id", "node-name",
                        self->exports, error);
}

QemuView *
qemu_view_new (QemuSession *session, GError **error)
{
  g_autoptr (QemuView) self = g_new0 (QemuView, 1);

  self->nodes = g_hash_table_new (g_str_hash, g_str_equal);
  self->below = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  self->jobs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  self->exports =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  return load (self, session, error) ? g_steal_pointer (&self) : NULL;
}

void
qemu_view_free (QemuView *self)
{
  g_clear_pointer (&self->disks, g_ptr_array_unref);
  g_hash_table_unref (self->nodes);
  g_hash_table_unref (self->below);
  g_hash_table_unref (self->jobs);
  g_hash_table_unref (self->exports);
  g_clear_pointer (&self->named, json_node_unref);
  g_free (self);
}

gboolean
qemu_view_has_node (const QemuView *self, const char *name)
{
  return g_hash_table_contains (self->nodes, name);
}

gboolean
qemu_view_count (const QemuView *self, const char *node, const char *bitmap,
                 guint64 *n_bytes)
{
  JsonObject *object = g_hash_table_lookup (self->nodes, node);
  JsonArray *list =
      object != NULL ? qmp_json_array (object, "dirty-bitmaps") : NULL;
  guint n = list != NULL ? json_array_get_length (list) : 0;

  for (guint i = 0; i < n; i++) {
    JsonObject *at = qmp_json_as_object (json_array_get_element (list, i));

    if (at == NULL || g_strcmp0 (qmp_json_string (at, "name"), bitmap) != 0)
      continue;
    *n_bytes = (guint64) qmp_json_size (at, "count", 0);
    return TRUE;
  }
  return FALSE;
}

QmpDisk *
qemu_view_disk (const QemuView *self, const QemuVolume *volume, GError **error)
{
  QmpDisk *disk = qmp_disks_find (self->disks, volume->device);

  if (disk == NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                    "%s: the guest has no disk %s (with a medium)",
                    volume->socket, volume->device);
  return disk;
}
