/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/json.h"

#include "cli/output.h"
#include "cli/text.h"

JsonBuilder *
cli_json_begin (const char *verb)
{
  g_autofree char *schema = g_strdup_printf ("nbdsnap/%s/1", verb);
  JsonBuilder *self = json_builder_new ();

  json_builder_begin_object (self);
  cli_json_add_text (self, "schema", schema);
  return self;
}

void
cli_json_add_element (JsonBuilder *self, const char *text)
{
  g_autofree char *valid = text != NULL ? g_utf8_make_valid (text, -1) : NULL;

  if (valid != NULL)
    json_builder_add_string_value (self, valid);
  else
    json_builder_add_null_value (self);
}

void
cli_json_add_text (JsonBuilder *self, const char *member, const char *text)
{
  json_builder_set_member_name (self, member);
  cli_json_add_element (self, text);
}

void
cli_json_add_uint (JsonBuilder *self, const char *member, guint64 value)
{
  json_builder_set_member_name (self, member);
  json_builder_add_int_value (self, (gint64) MIN (value, G_MAXINT64));
}

void
cli_json_add_bool (JsonBuilder *self, const char *member, gboolean value)
{
  json_builder_set_member_name (self, member);
  json_builder_add_boolean_value (self, value);
}

void
cli_json_add_time (JsonBuilder *self, const char *member, gint64 time_us)
{
  g_autofree char *text = time_us != 0 ? cli_time_format (time_us) : NULL;

  cli_json_add_text (self, member, text);
}

void
cli_json_begin_array (JsonBuilder *self, const char *member)
{
  json_builder_set_member_name (self, member);
  json_builder_begin_array (self);
}

char *
cli_json_end (JsonBuilder *self)
{
  g_autoptr (JsonNode) root = NULL;

  json_builder_end_object (self);
  root = json_builder_get_root (self);
  return json_to_string (root, FALSE);
}

gboolean
cli_json_print (JsonBuilder *self, GError **error)
{
  g_autofree char *text = cli_json_end (self);

  return cli_print (error, "%s\n", text);
}
