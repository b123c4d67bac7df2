/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/message.h"

#include <string.h>

#include "qmp/error.h"
#include "qmp/json.h"

/* The longest description of an error that is passed on, in bytes. */
#define MAX_DESCRIPTION 1000

/* ---- what may be handed to the parser ---- */

/*
 * The parser of json-glib takes more than JSON (comments, other quotes) and
 * recurses once a level.  So that it sees what is seen here, all of that is
 * refused before.
 */
typedef struct {
  const char *at;
  const char *end;
} Text;

static gboolean
skip_hex (Text *text, guint *value)
{
  *value = 0;
  if (text->end - text->at < 4)
    return FALSE;
  for (int i = 0; i < 4; i++) {
    int digit = g_ascii_xdigit_value (*text->at++);

    if (digit < 0)
      return FALSE;
    *value = *value << 4 | (guint) digit;
  }
  return TRUE;
}

/* What follows "\u": no NUL, and surrogates in pairs. */
static gboolean
skip_unicode (Text *text)
{
  guint first, second;

  if (!skip_hex (text, &first) || first == 0)
    return FALSE;
  if (first < 0xd800 || first > 0xdfff)
    return TRUE;
  if (first > 0xdbff || text->end - text->at < 2
      || memcmp (text->at, "\\u", 2) != 0)
    return FALSE;
  text->at += 2;
  return skip_hex (text, &second) && second >= 0xdc00 && second <= 0xdfff;
}

/* The rest of a string, its closing quote included. */
static gboolean
skip_string (Text *text)
{
  while (text->at < text->end) {
    guchar c = (guchar) *text->at++;

    if (c == '"')
      return TRUE;
    if (c < ' ')
      return FALSE;
    if (c != '\\')
      continue;
    if (text->at == text->end || strchr ("\"\\/bfnrtu", *text->at) == NULL)
      return FALSE;
    if (*text->at++ == 'u' && !skip_unicode (text))
      return FALSE;
  }
  return FALSE;
}

/* One value in brackets, with no more than space around it. */
static gboolean
is_json (const char *line, gsize length)
{
  Text text = { line, line + length };
  guint depth = 0, n_values = 0;

  if (!g_utf8_validate_len (line, length, NULL))
    return FALSE;
  while (text.at < text.end) {
    char c = *text.at++;

    if (strchr (" \t\r\n", c) != NULL)
      continue;
    if (c == '"' && !skip_string (&text))
      return FALSE;
    if ((c == '{' || c == '[') && depth++ == QMP_MAX_DEPTH)
      return FALSE;
    if (depth == 0 || n_values > 0)
      return FALSE;
    if ((c == '}' || c == ']') && --depth == 0)
      n_values++;
    if (!g_ascii_isalnum (c) && strchr ("\"{}[],:+-.", c) == NULL)
      return FALSE;
  }
  return n_values == 1;
}

/* ---- messages ---- */

/* By the member that tells them, the first that is there. */
static const struct {
  const char *member;
  QmpMessageKind kind;
} kinds[] = {
  { "error", QMP_MESSAGE_ERROR },
  { "return", QMP_MESSAGE_RETURN },
  { "event", QMP_MESSAGE_EVENT },
  { "QMP", QMP_MESSAGE_GREETING },
};

static JsonNode *
find_body (JsonNode *root, QmpMessageKind *kind)
{
  JsonObject *object = json_node_get_object (root);

  for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++) {
    JsonNode *body = json_object_get_member (object, kinds[i].member);

    if (body == NULL)
      continue;
    *kind = kinds[i].kind;
    switch (*kind) {
    case QMP_MESSAGE_RETURN:
      return body;
    case QMP_MESSAGE_EVENT:
      return json_node_get_value_type (body) == G_TYPE_STRING ? root : NULL;
    default:
      return JSON_NODE_HOLDS_OBJECT (body) ? body : NULL;
    }
  }
  return NULL;
}

QmpMessage *
qmp_message_parse (const char *line, gsize length, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (QmpMessage) self = g_new0 (QmpMessage, 1);
  JsonNode *root = NULL, *body = NULL;
  JsonObject *object;

  if (length > 0 && length <= QMP_MAX_MESSAGE && is_json (line, length)
      && json_parser_load_from_data (parser, line, (gssize) length, NULL))
    root = json_parser_get_root (parser);
  object = qmp_json_as_object (root);
  if (object != NULL)
    body = find_body (root, &self->kind);
  if (body == NULL) {
    qmp_error_set (error, QMP_ERROR_PROTOCOL, "a line that is no QMP message");
    return NULL;
  }
  self->body = json_node_copy (body);
  self->has_id = json_object_has_member (object, "id");
  self->id = g_strdup (qmp_json_string (object, "id"));
  return g_steal_pointer (&self);
}

void
qmp_message_free (QmpMessage *self)
{
  g_clear_pointer (&self->body, json_node_unref);
  g_free (self->id);
  g_free (self);
}

char *
qmp_message_format (const char *command, JsonObject *arguments, const char *id)
{
  g_autoptr (JsonObject) object = json_object_new ();
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *text = NULL;

  json_object_set_string_member (object, "execute", command);
  if (arguments != NULL)
    json_object_set_object_member (object, "arguments",
                                   json_object_ref (arguments));
  if (id != NULL)
    json_object_set_string_member (object, "id", id);
  json_node_set_object (node, object);
  text = json_to_string (node, FALSE);
  return g_strconcat (text, "\n", NULL);
}

/* ---- errors ---- */

static QmpError
code_of_class (const char *class)
{
  if (g_strcmp0 (class, "CommandNotFound") == 0)
    return QMP_ERROR_NO_COMMAND;
  if (g_strcmp0 (class, "DeviceNotActive") == 0)
    return QMP_ERROR_NOT_ACTIVE;
  return QMP_ERROR_COMMAND;
}

/* On one line, and not without end. */
static char *
clean (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  GString *out = g_string_new (NULL);

  for (const char *at = valid; *at != '\0' && out->len < MAX_DESCRIPTION;
       at = g_utf8_next_char (at)) {
    gunichar c = g_utf8_get_char (at);

    g_string_append_unichar (out, g_unichar_iscntrl (c) ? ' ' : c);
  }
  return g_string_free (out, FALSE);
}

gboolean
qmp_message_set_error (JsonNode *body, const char *command, GError **error)
{
  JsonObject *object = qmp_json_as_object (body);
  const char *class = NULL, *description = NULL;
  g_autofree char *text = NULL;

  if (object != NULL) {
    class = qmp_json_string (object, "class");
    description = qmp_json_string (object, "desc");
  }
  text = clean (description == NULL ? "an error without a text" : description);
  return qmp_error_set (error, code_of_class (class), "%s: %s", command, text);
}
