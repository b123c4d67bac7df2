/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/manifest.h"

#include <json-glib/json-glib.h>
#include <string.h>

#include "snapshot-core/base/error.h"

/* A document is an object with an array of objects; a deeper one is not ours
   and could only cost the JSON reader its stack. */
#define MAX_DEPTH 3

/* No document of ours comes near it. */
#define MAX_LENGTH (16 * 1024 * 1024)

/* Printable ASCII that stands for itself: not '%', which escapes, and no
   brackets, which would be taken for structure. */
#define PLAIN "!\"#$&'()*+,/:;<=>?@\\^`| "

static const struct {
  const char *schema;
  const char *op;
} kinds[] = {
  [SNAP_MANIFEST_SET] = { "nbdsnap/set/1", NULL },
  [SNAP_MANIFEST_CREATE] = { "nbdsnap/journal/1", "create" },
  [SNAP_MANIFEST_DELETE] = { "nbdsnap/journal/1", "delete" },
};

/* The string fields of a member: one row each. */
static const struct {
  const char *name;
  gsize offset;
  guint required; /* a bit for each kind */
} fields[] = {
#define ALL (1 << SNAP_MANIFEST_SET | ON_CREATE | ON_DELETE)
#define ON_CREATE (1 << SNAP_MANIFEST_CREATE)
#define ON_DELETE (1 << SNAP_MANIFEST_DELETE)
  { "driver", G_STRUCT_OFFSET (SnapManifestMember, driver), ALL },
  { "location", G_STRUCT_OFFSET (SnapManifestMember, location), ALL },
  { "part", G_STRUCT_OFFSET (SnapManifestMember, part), 0 },
  { "volume_id", G_STRUCT_OFFSET (SnapManifestMember, volume_id), 0 },
  { "record", G_STRUCT_OFFSET (SnapManifestMember, record), ON_CREATE },
  { "point", G_STRUCT_OFFSET (SnapManifestMember, point), 0 },
  { "point_id", G_STRUCT_OFFSET (SnapManifestMember, point_id), ON_DELETE },
  { "handle", G_STRUCT_OFFSET (SnapManifestMember, handle), 0 },
  { "point_set", G_STRUCT_OFFSET (SnapManifestMember, point_set), 0 },
  { "secret_file", G_STRUCT_OFFSET (SnapManifestMember, secret_file), 0 },
  { "snapshot_dir", G_STRUCT_OFFSET (SnapManifestMember, snapshot_dir), 0 },
};

static char **
field_of (SnapManifestMember *member, gsize index)
{
  return &G_STRUCT_MEMBER (char *, member, fields[index].offset);
}

static void
member_free (SnapManifestMember *member)
{
  for (gsize i = 0; i < G_N_ELEMENTS (fields); i++)
    g_free (*field_of (member, i));
  g_free (member);
}

SnapManifest *
snap_manifest_new (SnapManifestKind kind, const char *id, const char *name)
{
  SnapManifest *self = g_new0 (SnapManifest, 1);

  self->kind = kind;
  self->id = g_strdup (id);
  self->name = g_strdup (name);
  self->members = g_ptr_array_new_with_free_func ((GDestroyNotify) member_free);
  return self;
}

void
snap_manifest_free (SnapManifest *self)
{
  if (self == NULL)
    return;
  g_free (self->id);
  g_free (self->name);
  g_free (self->guest.monitor);
  g_free (self->guest.agent);
  g_free (self->post_cut);
  g_ptr_array_unref (self->members);
  g_free (self);
}

SnapManifestMember *
snap_manifest_add (SnapManifest *self, const char *driver, const char *location)
{
  SnapManifestMember *member = g_new0 (SnapManifestMember, 1);

  member->driver = g_strdup (driver);
  member->location = g_strdup (location);
  g_ptr_array_add (self->members, member);
  return member;
}

/* ---- writing ---- */

static void
write_string (JsonBuilder *builder, const char *name, const char *value)
{
  g_autofree char *escaped = NULL;

  if (value == NULL)
    return;
  escaped = g_uri_escape_string (value, PLAIN, TRUE);
  json_builder_set_member_name (builder, name);
  json_builder_add_string_value (builder, escaped);
}

static void
write_members (JsonBuilder *builder, const SnapManifest *self)
{
  json_builder_set_member_name (builder, "volumes");
  json_builder_begin_array (builder);
  for (guint i = 0; i < self->members->len; i++) {
    SnapManifestMember *member = g_ptr_array_index (self->members, i);

    json_builder_begin_object (builder);
    for (gsize field = 0; field < G_N_ELEMENTS (fields); field++)
      write_string (builder, fields[field].name, *field_of (member, field));
    json_builder_end_object (builder);
  }
  json_builder_end_array (builder);
}

static void
write_cut (JsonBuilder *builder, const SnapManifest *self)
{
  json_builder_set_member_name (builder, "atomic");
  json_builder_add_boolean_value (builder, self->atomic);
  json_builder_set_member_name (builder, "window_us");
  json_builder_add_int_value (builder, (gint64) self->window_us);
}

static void
write_guest (JsonBuilder *builder, const SnapManifestGuest *guest)
{
  if (guest->monitor == NULL)
    return;
  json_builder_set_member_name (builder, "guest");
  json_builder_begin_object (builder);
  write_string (builder, "monitor", guest->monitor);
  write_string (builder, "agent", guest->agent);
  write_string (builder, "quiesce", snap_quiesce_name (guest->quiesce));
  json_builder_set_member_name (builder, "stopped_us");
  json_builder_add_int_value (builder, (gint64) guest->stopped_us);
  json_builder_set_member_name (builder, "frozen_us");
  json_builder_add_int_value (builder, (gint64) guest->frozen_us);
  json_builder_end_object (builder);
}

char *
snap_manifest_format (const SnapManifest *self)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autoptr (JsonNode) root = NULL;
  g_autofree char *text = NULL;

  json_builder_begin_object (builder);
  write_string (builder, "schema", kinds[self->kind].schema);
  write_string (builder, "op", kinds[self->kind].op);
  write_string (builder, "set", self->id);
  write_string (builder, "name", self->name);
  if (self->kind == SNAP_MANIFEST_SET)
    write_cut (builder, self);
  write_guest (builder, &self->guest);
  write_string (builder, "post_cut", self->post_cut);
  write_members (builder, self);
  json_builder_end_object (builder);

  root = json_builder_get_root (builder);
  text = json_to_string (root, FALSE);
  return g_strconcat (text, "\n", NULL);
}

/* ---- reading ---- */

static gboolean
corrupt (GError **error, const char *object, const char *fact)
{
  return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: %s", object, fact);
}

static gboolean
is_too_deep (const char *text)
{
  guint depth = 0;

  for (const char *at = text; *at != '\0'; at++) {
    if (strchr ("{[", *at) != NULL && ++depth > MAX_DEPTH)
      return TRUE;
    if (strchr ("}]", *at) != NULL && depth > 0)
      depth--;
  }
  return FALSE;
}

/* The value of a member that has @type, or NULL. */
static JsonNode *
lookup (JsonObject *object, const char *name, GType type)
{
  JsonNode *node = json_object_get_member (object, name);

  if (node == NULL || !JSON_NODE_HOLDS_VALUE (node)
      || json_node_get_value_type (node) != type)
    return NULL;
  return node;
}

static char *
read_string (JsonObject *object, const char *name)
{
  JsonNode *node = lookup (object, name, G_TYPE_STRING);

  if (node == NULL)
    return NULL;
  return g_uri_unescape_string (json_node_get_string (node), NULL);
}

static gboolean
read_kind (JsonObject *object, SnapManifestKind *kind)
{
  g_autofree char *schema = read_string (object, "schema");
  g_autofree char *op = read_string (object, "op");

  for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (g_strcmp0 (schema, kinds[i].schema) == 0
        && g_strcmp0 (op, kinds[i].op) == 0) {
      *kind = i;
      return TRUE;
    }
  return FALSE;
}

static gboolean
read_member (SnapManifest *self, JsonNode *node)
{
  SnapManifestMember *member;

  if (!JSON_NODE_HOLDS_OBJECT (node))
    return FALSE;
  member = snap_manifest_add (self, NULL, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (fields); i++) {
    char **field = field_of (member, i);

    *field = read_string (json_node_get_object (node), fields[i].name);
    if (*field == NULL && (fields[i].required & 1 << self->kind) != 0)
      return FALSE;
  }
  return TRUE;
}

static gboolean
read_members (SnapManifest *self, JsonObject *object)
{
  JsonNode *node = json_object_get_member (object, "volumes");
  JsonArray *array;

  if (node == NULL || !JSON_NODE_HOLDS_ARRAY (node))
    return FALSE;
  array = json_node_get_array (node);
  for (guint i = 0; i < json_array_get_length (array); i++)
    if (!read_member (self, json_array_get_element (array, i)))
      return FALSE;
  return json_array_get_length (array) > 0;
}

static guint64
read_number (JsonObject *object, const char *name)
{
  JsonNode *node = lookup (object, name, G_TYPE_INT64);

  return node != NULL ? MAX (json_node_get_int (node), 0) : 0;
}

static void
read_cut (SnapManifest *self, JsonObject *object)
{
  JsonNode *atomic = lookup (object, "atomic", G_TYPE_BOOLEAN);

  self->atomic = atomic != NULL && json_node_get_boolean (atomic);
  self->window_us = read_number (object, "window_us");
}

/* FALSE if there is one that says not all that is needed to let it go. */
static gboolean
read_guest (SnapManifestGuest *guest, JsonObject *root)
{
  JsonNode *node = json_object_get_member (root, "guest");
  JsonObject *object;
  g_autofree char *quiesce = NULL;

  if (node == NULL)
    return TRUE;
  if (!JSON_NODE_HOLDS_OBJECT (node))
    return FALSE;
  object = json_node_get_object (node);
  quiesce = read_string (object, "quiesce");
  guest->monitor = read_string (object, "monitor");
  guest->agent = read_string (object, "agent");
  guest->stopped_us = read_number (object, "stopped_us");
  guest->frozen_us = read_number (object, "frozen_us");
  return guest->monitor != NULL && quiesce != NULL
         && snap_quiesce_parse (quiesce, &guest->quiesce);
}

static SnapManifest *
read_document (JsonObject *root, const char *object, GError **error)
{
  g_autoptr (SnapManifest) self = snap_manifest_new (0, NULL, NULL);

  if (!read_kind (root, &self->kind)) {
    corrupt (error, object, "not a set or journal entry of this version");
    return NULL;
  }
  self->id = read_string (root, "set");
  self->name = read_string (root, "name");
  self->post_cut = read_string (root, "post_cut");
  read_cut (self, root);
  if (self->id == NULL || !read_members (self, root)
      || !read_guest (&self->guest, root)) {
    corrupt (error, object, "a field is missing or of the wrong type");
    return NULL;
  }
  return g_steal_pointer (&self);
}

SnapManifest *
snap_manifest_parse (const char *text, const char *object, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new_immutable ();
  JsonNode *root;

  if (strlen (text) > MAX_LENGTH || is_too_deep (text)
      || !g_utf8_validate (text, -1, NULL)
      || !json_parser_load_from_data (parser, text, -1, NULL)) {
    corrupt (error, object, "not a JSON document of ours");
    return NULL;
  }
  root = json_parser_get_root (parser);
  if (root == NULL || !JSON_NODE_HOLDS_OBJECT (root)) {
    corrupt (error, object, "not a JSON object");
    return NULL;
  }
  return read_document (json_node_get_object (root), object, error);
}
