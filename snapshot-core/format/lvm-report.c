/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/lvm-report.h"

#include <json-glib/json-glib.h>
#include <string.h>

#include "snapshot-core/base/error.h"

static void
volume_free (SnapLvmVolume *self)
{
  g_free (self->name);
  g_free (self->uuid);
  g_free (self->vg);
  g_free (self->vg_uuid);
  g_free (self->dm_path);
  g_free (self->segtype);
  g_free (self->origin);
  g_free (self->origin_uuid);
  g_free (self->pool);
  g_free (self->pool_uuid);
  g_free (self->metadata_lv);
  g_free (self->health);
  g_strfreev (self->tags);
  g_free (self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapLvmVolume, volume_free)

/* ---- fields ---- */

/* A row of the report, and the first field that could not be read. */
typedef struct {
  JsonObject *object;
  const char *bad;
} Row;

/* "" if the field is not there or is no string. */
static const char *
get (const Row *row, const char *field)
{
  JsonNode *node = json_object_get_member (row->object, field);

  if (node == NULL || json_node_get_value_type (node) != G_TYPE_STRING)
    return "";
  return json_node_get_string (node);
}

static char *
get_text (const Row *row, const char *field)
{
  const char *text = get (row, field);

  return *text == '\0' ? NULL : g_strdup (text);
}

/* A name, out of the brackets of a hidden volume. */
static char *
get_name (const Row *row, const char *field)
{
  const char *text = get (row, field);
  gsize length = strlen (text);

  if (length > 2 && text[0] == '[' && text[length - 1] == ']')
    return g_strndup (text + 1, length - 2);
  return get_text (row, field);
}

/* An empty field is 0. */
static guint64
get_number (Row *row, const char *field, guint64 max)
{
  const char *text = get (row, field);
  guint64 value = 0;

  if (*text != '\0'
      && !g_ascii_string_to_unsigned (text, 10, 0, max, &value, NULL))
    row->bad = field;
  return value;
}

static double
get_percent (Row *row, const char *field)
{
  const char *text = get (row, field);
  char *end;
  double value;

  if (*text == '\0')
    return -1;
  value = g_ascii_strtod (text, &end);
  if (*end != '\0' || !(value >= 0 && value <= 100))
    row->bad = field;
  return value;
}

static gboolean
is_set (const Row *row, const char *field)
{
  return *get (row, field) != '\0';
}

/* ---- rows ---- */

static void
read_names (SnapLvmVolume *self, const Row *row)
{
  self->name = get_name (row, "lv_name");
  self->uuid = get_text (row, "lv_uuid");
  self->vg = get_text (row, "vg_name");
  self->vg_uuid = get_text (row, "vg_uuid");
  self->dm_path = get_text (row, "lv_dm_path");
  self->segtype = get_text (row, "segtype");
  self->origin = get_name (row, "origin");
  self->origin_uuid = get_text (row, "origin_uuid");
  self->pool = get_name (row, "pool_lv");
  self->pool_uuid = get_text (row, "pool_lv_uuid");
  self->metadata_lv = get_name (row, "metadata_lv");
  self->health = get_text (row, "lv_health_status");
  self->tags = g_strsplit (get (row, "lv_tags"), ",", -1);
}

static void
read_numbers (SnapLvmVolume *self, Row *row)
{
  self->size = get_number (row, "lv_size", G_MAXINT64);
  self->origin_size = get_number (row, "origin_size", G_MAXINT64);
  self->chunk_size = get_number (row, "chunk_size", G_MAXUINT32);
  self->vg_free = get_number (row, "vg_free", G_MAXINT64);
  self->extent_size = get_number (row, "vg_extent_size", G_MAXINT64);
  self->thin_id = get_number (row, "thin_id", (1 << 24) - 1);
  self->transaction_id = get_number (row, "transaction_id", G_MAXUINT64);
  self->time_us =
      get_number (row, "lv_time", G_MAXINT64 / G_USEC_PER_SEC) * G_USEC_PER_SEC;
  self->data_percent = get_percent (row, "data_percent");
  self->metadata_percent = get_percent (row, "metadata_percent");
}

static void
read_state (SnapLvmVolume *self, const Row *row)
{
  self->active = is_set (row, "lv_active");
  self->writeable = g_str_has_prefix (get (row, "lv_permissions"), "writeable");
  self->merging = is_set (row, "lv_merging");
  /* "unknown" while it is not active. */
  self->invalid =
      g_str_equal (get (row, "lv_snapshot_invalid"), "snapshot invalid");
}

static SnapLvmVolume *
read_volume (JsonObject *object, const char *report, GError **error)
{
  g_autoptr (SnapLvmVolume) self = g_new0 (SnapLvmVolume, 1);
  Row row = { .object = object };

  read_names (self, &row);
  read_numbers (self, &row);
  read_state (self, &row);
  if (self->name == NULL || self->uuid == NULL || self->vg == NULL)
    row.bad = "lv_name, lv_uuid or vg_name";
  if (row.bad == NULL)
    return g_steal_pointer (&self);
  snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: cannot understand %s", report,
                  row.bad);
  return NULL;
}

/* ---- the document ---- */

static JsonArray *
array_in (JsonNode *node, const char *name)
{
  JsonObject *object;
  JsonNode *member;

  if (node == NULL || !JSON_NODE_HOLDS_OBJECT (node))
    return NULL;
  object = json_node_get_object (node);
  member = json_object_get_member (object, name);
  return member != NULL && JSON_NODE_HOLDS_ARRAY (member)
             ? json_node_get_array (member)
             : NULL;
}

/* A volume of several segments has a row for each: its first one counts. */
static gboolean
add_rows (GPtrArray *volumes, JsonArray *rows, const char *report,
          GError **error)
{
  for (guint i = 0; i < json_array_get_length (rows); i++) {
    JsonNode *node = json_array_get_element (rows, i);
    g_autoptr (SnapLvmVolume) volume = NULL;

    if (!JSON_NODE_HOLDS_OBJECT (node))
      return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: not a report",
                             report);
    volume = read_volume (json_node_get_object (node), report, error);
    if (volume == NULL)
      return FALSE;
    if (snap_lvm_report_by_uuid (volumes, volume->uuid) == NULL)
      g_ptr_array_add (volumes, g_steal_pointer (&volume));
  }
  return TRUE;
}

GPtrArray *
snap_lvm_report_parse (const char *json, const char *object, GError **error)
{
  g_autoptr (GPtrArray) volumes =
      g_ptr_array_new_with_free_func ((GDestroyNotify) volume_free);
  g_autoptr (JsonParser) parser = json_parser_new_immutable ();
  JsonArray *report = NULL;
  JsonArray *rows = NULL;

  if (json_parser_load_from_data (parser, json, -1, NULL))
    report = array_in (json_parser_get_root (parser), "report");
  if (report != NULL && json_array_get_length (report) > 0)
    rows = array_in (json_array_get_element (report, 0), "lv");
  if (rows == NULL) {
    snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: not a report", object);
    return NULL;
  }
  return add_rows (volumes, rows, object, error) ? g_steal_pointer (&volumes)
                                                 : NULL;
}

/* ---- looking things up ---- */

const SnapLvmVolume *
snap_lvm_report_by_uuid (GPtrArray *volumes, const char *uuid)
{
  for (guint i = 0; i < volumes->len; i++) {
    const SnapLvmVolume *volume = volumes->pdata[i];

    if (g_str_equal (volume->uuid, uuid))
      return volume;
  }
  return NULL;
}

const SnapLvmVolume *
snap_lvm_report_by_name (GPtrArray *volumes, const char *vg, const char *name)
{
  for (guint i = 0; i < volumes->len; i++) {
    const SnapLvmVolume *volume = volumes->pdata[i];

    if (g_str_equal (volume->vg, vg) && g_str_equal (volume->name, name))
      return volume;
  }
  return NULL;
}

const char *
snap_lvm_volume_tag (const SnapLvmVolume *self, const char *prefix)
{
  gsize length = strlen (prefix);

  for (char **tag = self->tags; *tag != NULL; tag++)
    if (strncmp (*tag, prefix, length) == 0 && (*tag)[length] == '=')
      return *tag + length + 1;
  return NULL;
}
