/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/disks.h"

#include <string.h>

#include "qmp/json.h"

/* Where QEMU keeps the devices that have an id. */
#define NAMED_DEVICES "/machine/peripheral/"

typedef struct {
  GHashTable *nodes; /* node name → JsonObject, of query-named-block-nodes */
  GHashTable *below; /* node name → name of the node that has its data, or
                        NULL if it has no such node */
} Graph;

static void
bitmap_free (QmpBitmap *self)
{
  g_free (self->name);
  g_free (self);
}

void
qmp_disk_free (QmpDisk *self)
{
  g_free (self->device);
  g_free (self->drive);
  g_free (self->qdev);
  g_free (self->top);
  g_free (self->node);
  g_free (self->format);
  g_free (self->protocol);
  g_free (self->filename);
  g_clear_pointer (&self->bitmaps, g_ptr_array_unref);
  g_free (self);
}

/* ---- the graph ---- */

/* The objects of an array, the only thing that these answers are. */
static gboolean
get_objects (JsonNode *node, const char *command, JsonArray **array,
             GError **error)
{
  *array = JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  for (guint i = 0; *array != NULL && i < json_array_get_length (*array); i++)
    if (!JSON_NODE_HOLDS_OBJECT (json_array_get_element (*array, i)))
      *array = NULL;
  if (*array == NULL)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "%s: something else than a list", command);
  return TRUE;
}

static void
index_nodes (Graph *graph, JsonArray *nodes)
{
  for (guint i = 0; i < json_array_get_length (nodes); i++) {
    JsonObject *node = json_array_get_object_element (nodes, i);
    const char *name = qmp_json_string (node, "node-name");

    if (name != NULL)
      g_hash_table_insert (graph->nodes, (char *) name, node);
  }
}

/* @at and what is below it.  What the statistics call the parent is the child
   with the data. */
static void
index_chain (Graph *graph, JsonObject *at)
{
  while (at != NULL) {
    JsonObject *child = qmp_json_object (at, "parent");
    const char *name = qmp_json_string (at, "node-name");
    const char *lower =
        child == NULL ? NULL : qmp_json_string (child, "node-name");

    if (name != NULL)
      g_hash_table_insert (graph->below, (char *) name, (char *) lower);
    at = child;
  }
}

static void
index_below (Graph *graph, JsonArray *stats)
{
  for (guint i = 0; i < json_array_get_length (stats); i++)
    index_chain (graph, json_array_get_object_element (stats, i));
}

/* A node as QEMU lists it. */
static JsonObject *
look_up (const Graph *graph, const char *name, GError **error)
{
  JsonObject *node = g_hash_table_lookup (graph->nodes, name);

  if (node == NULL)
    qmp_error_set (error, QMP_ERROR_PROTOCOL,
                   "%s: a node that is in no list of nodes", name);
  return node;
}

/* Those that QEMU calls filters: they have no data but their child's. */
static gboolean
is_filter (JsonObject *node)
{
  static const char *const filters[] = {
    "blkdebug",   "blklogwrites", "blkreplay",    "blkverify",
    "commit_top", "compress",     "copy-on-read", "copy-before-write",
    "mirror_top", "preallocate",  "throttle",     NULL,
  };
  const char *driver = qmp_json_string (node, "drv");

  return driver != NULL && g_strv_contains (filters, driver);
}

/* As far as it is told, and not in circles. */
static const char *
find_format (const Graph *graph, const char *top)
{
  const char *name = top;

  for (guint n = g_hash_table_size (graph->below); n > 0; n--) {
    JsonObject *node = g_hash_table_lookup (graph->nodes, name);
    const char *lower = g_hash_table_lookup (graph->below, name);

    if (node == NULL || !is_filter (node) || lower == NULL)
      break;
    name = lower;
  }
  return name;
}

static const char *
find_protocol (const Graph *graph, const char *format)
{
  const char *name = format;

  for (guint n = g_hash_table_size (graph->below); n > 0; n--) {
    const char *lower = g_hash_table_lookup (graph->below, name);

    if (lower == NULL)
      break;
    name = lower;
  }
  return name;
}

/* ---- a disk ---- */

static QmpBitmap *
parse_bitmap (JsonObject *object)
{
  QmpBitmap *bitmap = g_new0 (QmpBitmap, 1);

  bitmap->name = g_strdup (qmp_json_string (object, "name"));
  bitmap->granularity = (guint64) qmp_json_size (object, "granularity", 0);
  bitmap->recording = qmp_json_boolean (object, "recording");
  bitmap->persistent = qmp_json_boolean (object, "persistent");
  bitmap->inconsistent = qmp_json_boolean (object, "inconsistent");
  bitmap->busy = qmp_json_boolean (object, "busy");
  return bitmap;
}

static GPtrArray *
parse_bitmaps (JsonObject *node)
{
  JsonArray *array = qmp_json_array (node, "dirty-bitmaps");
  guint n = array == NULL ? 0 : json_array_get_length (array);
  GPtrArray *bitmaps =
      g_ptr_array_new_with_free_func ((GDestroyNotify) bitmap_free);

  for (guint i = 0; i < n; i++) {
    JsonObject *object = qmp_json_as_object (json_array_get_element (array, i));

    if (object != NULL && qmp_json_string (object, "name") != NULL)
      g_ptr_array_add (bitmaps, parse_bitmap (object));
  }
  return bitmaps;
}

static gboolean
parse_node (QmpDisk *disk, JsonObject *node, GError **error)
{
  JsonObject *image = qmp_json_object (node, "image");
  gint64 size = image == NULL ? -1 : qmp_json_size (image, "virtual-size", -1);
  const char *format = qmp_json_string (node, "drv");

  if (size < 0 || format == NULL)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "%s: a node without a driver or size", disk->node);
  disk->size = (guint64) size;
  disk->format = g_strdup (format);
  disk->encrypted = qmp_json_boolean (node, "encrypted");
  disk->has_backing = qmp_json_string (node, "backing_file") != NULL
                      || qmp_json_size (node, "backing_file_depth", 0) > 0;
  disk->bitmaps = parse_bitmaps (node);
  return TRUE;
}

static gboolean
parse_layers (QmpDisk *disk, const Graph *graph, GError **error)
{
  JsonObject *node, *protocol;
  const char *lowest;

  disk->node = g_strdup (find_format (graph, disk->top));
  lowest = find_protocol (graph, disk->node);
  /* Else a format would pass for a protocol, and its bytes for the guest's. */
  if (!g_hash_table_contains (graph->below, lowest))
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "%s: nothing tells what is below", lowest);
  node = look_up (graph, disk->node, error);
  protocol = node == NULL ? NULL : look_up (graph, lowest, error);
  if (protocol == NULL || !parse_node (disk, node, error))
    return FALSE;
  disk->protocol = g_strdup (qmp_json_string (protocol, "drv"));
  disk->filename = g_strdup (qmp_json_string (protocol, "file"));
  if (disk->protocol == NULL || disk->filename == NULL)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "%s: a node without a driver or file", lowest);
  if (node == protocol && !is_filter (node)) {
    g_free (disk->format);
    disk->format = g_strdup ("raw");
  }
  return TRUE;
}

/* "/machine/peripheral/ID/…", or what is an id already; else NULL. */
static char *
find_id (const char *qdev)
{
  const char *id = qdev;

  if (g_str_has_prefix (qdev, NAMED_DEVICES))
    id += strlen (NAMED_DEVICES);
  else if (*qdev == '/' || *qdev == '\0')
    return NULL;
  return g_strndup (id, strcspn (id, "/"));
}

static void
name_disk (QmpDisk *disk, JsonObject *object)
{
  const char *drive = qmp_json_string (object, "device");
  const char *qdev = qmp_json_string (object, "qdev");

  disk->drive = drive == NULL || *drive == '\0' ? NULL : g_strdup (drive);
  disk->qdev = g_strdup (qdev);
  disk->device = qdev == NULL ? NULL : find_id (qdev);
  if (disk->device == NULL)
    disk->device = g_strdup (disk->drive != NULL ? disk->drive : disk->node);
}

static QmpDisk *
parse_disk (JsonObject *object, JsonObject *inserted, const Graph *graph,
            GError **error)
{
  g_autoptr (QmpDisk) disk = g_new0 (QmpDisk, 1);

  disk->top = g_strdup (qmp_json_string (inserted, "node-name"));
  if (disk->top == NULL) {
    qmp_error_set (error, QMP_ERROR_PROTOCOL, "query-block: no node's name");
    return NULL;
  }
  if (!parse_layers (disk, graph, error))
    return NULL;
  name_disk (disk, object);
  disk->read_only = qmp_json_boolean (inserted, "ro");
  disk->removable = qmp_json_boolean (object, "removable");
  return g_steal_pointer (&disk);
}

/* ---- the list ---- */

static GPtrArray *
parse_all (JsonArray *block, const Graph *graph, GError **error)
{
  g_autoptr (GPtrArray) disks =
      g_ptr_array_new_with_free_func ((GDestroyNotify) qmp_disk_free);

  for (guint i = 0; i < json_array_get_length (block); i++) {
    JsonObject *object = json_array_get_object_element (block, i);
    JsonObject *inserted = qmp_json_object (object, "inserted");
    QmpDisk *disk;

    if (inserted == NULL)
      continue;
    disk = parse_disk (object, inserted, graph, error);
    if (disk == NULL)
      return NULL;
    g_ptr_array_add (disks, disk);
  }
  return g_steal_pointer (&disks);
}

GPtrArray *
qmp_disks_parse (JsonNode *block, JsonNode *nodes, JsonNode *stats,
                 GError **error)
{
  g_autoptr (GHashTable) by_name = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GHashTable) below = g_hash_table_new (g_str_hash, g_str_equal);
  Graph graph = { by_name, below };
  JsonArray *of_block, *of_nodes, *of_stats;

  if (!get_objects (block, "query-block", &of_block, error)
      || !get_objects (nodes, "query-named-block-nodes", &of_nodes, error)
      || !get_objects (stats, "query-blockstats", &of_stats, error))
    return NULL;
  index_nodes (&graph, of_nodes);
  index_below (&graph, of_stats);
  return parse_all (of_block, &graph, error);
}

static guint
left_ms (gint64 deadline_us)
{
  return (guint) (MAX (deadline_us - g_get_monotonic_time (), 0) / 1000);
}

GPtrArray *
qmp_disks_list (QmpClient *client, guint timeout_ms, GError **error)
{
  gint64 deadline_us = g_get_monotonic_time () + (gint64) timeout_ms * 1000;
  g_autoptr (JsonNode) block =
      qmp_client_execute (client, "query-block", NULL, timeout_ms, error);
  g_autoptr (JsonNode) nodes = NULL;
  g_autoptr (JsonNode) stats = NULL;

  if (block != NULL)
    nodes = qmp_client_execute (client, "query-named-block-nodes", NULL,
                                left_ms (deadline_us), error);
  if (nodes != NULL)
    stats = qmp_client_execute (client, "query-blockstats", NULL,
                                left_ms (deadline_us), error);
  return stats == NULL ? NULL : qmp_disks_parse (block, nodes, stats, error);
}

static gboolean
is_called (const QmpDisk *disk, const char *name)
{
  return g_strcmp0 (disk->drive, name) == 0 || g_strcmp0 (disk->node, name) == 0
         || g_strcmp0 (disk->top, name) == 0
         || g_strcmp0 (disk->qdev, name) == 0;
}

QmpDisk *
qmp_disks_find (GPtrArray *disks, const char *device)
{
  QmpDisk *found = NULL;

  for (guint i = 0; i < disks->len; i++) {
    QmpDisk *disk = g_ptr_array_index (disks, i);

    if (g_str_equal (disk->device, device))
      return disk;
    if (found == NULL && is_called (disk, device))
      found = disk;
  }
  return found;
}
