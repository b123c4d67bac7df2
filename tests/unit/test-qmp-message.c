/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>

#include "qmp/error.h"
#include "qmp/json.h"
#include "qmp/message.h"

/* In an exactly sized copy, so that an over-read shows. */
static QmpMessage *
parse (const char *line, GError **error)
{
  gsize length = strlen (line);
  g_autofree char *copy = g_memdup2 (line, length);

  return qmp_message_parse (copy, length, error);
}

static char *
body_text (const QmpMessage *message)
{
  return json_to_string (message->body, FALSE);
}

static void
assert_parsed (const char *line, QmpMessageKind kind, const char *id,
               const char *body)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpMessage) message = parse (line, &error);
  g_autofree char *text = NULL;

  g_assert_no_error (error);
  text = body_text (message);
  g_assert_cmpint (message->kind, ==, kind);
  g_assert_cmpstr (message->id, ==, id);
  g_assert_cmpstr (text, ==, body);
}

static void
test_tells_the_kinds_apart (void)
{
  assert_parsed ("{\"QMP\": {\"capabilities\": []}}\r\n", QMP_MESSAGE_GREETING,
                 NULL, "{\"capabilities\":[]}");
  assert_parsed ("{\"return\": [1, {}], \"id\": \"a-1\"}", QMP_MESSAGE_RETURN,
                 "a-1", "[1,{}]");
  assert_parsed ("{\"return\": null}", QMP_MESSAGE_RETURN, NULL, "null");
  assert_parsed ("{\"id\": \"x\", \"error\": {\"class\": \"C\"}}",
                 QMP_MESSAGE_ERROR, "x", "{\"class\":\"C\"}");
  assert_parsed ("{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1}}",
                 QMP_MESSAGE_EVENT, NULL,
                 "{\"event\":\"STOP\",\"timestamp\":{\"seconds\":1}}");
}

static void
test_knows_an_id_that_is_not_ours (void)
{
  static const char *const ids[] = { "7", "null", "{}", "[\"a\"]", "true" };

  for (gsize i = 0; i < G_N_ELEMENTS (ids); i++) {
    g_autofree char *line =
        g_strdup_printf ("{\"return\": {}, \"id\": %s}", ids[i]);
    g_autoptr (QmpMessage) message = parse (line, NULL);

    g_assert_nonnull (message);
    g_assert_true (message->has_id);
    g_assert_null (message->id);
  }
}

static void
test_reads_every_escape (void)
{
  g_autoptr (QmpMessage) message =
      parse ("{\"return\":\"\\\"\\\\\\/\\n\\u00e9\\ud83d\\ude00\"}", NULL);

  g_assert_nonnull (message);
  g_assert_cmpstr (json_node_get_string (message->body), ==,
                   "\"\\/\n\xc3\xa9\xf0\x9f\x98\x80");
}

static void
assert_refused (const char *line)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (parse (line, &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
}

static void
test_refuses_what_is_no_message (void)
{
  static const char *const lines[] = {
    "",
    "QEMU 7.2.22 monitor - type 'help' for more information",
    "[]",
    "1",
    "{}",
    "{\"execute\": \"stop\"}",
    "{\"return\": {}",
    "{\"return\": {}}}",
    "{\"return\": {}} {\"return\": {}}",
    "{\"return\": /* { */ {}}",
    "{'return': {}}",
    "{\"error\": \"text\"}",
    "{\"event\": 1}",
    "{\"QMP\": 1}",
    "{\"return\": \"\xff\"}",
    "{\"return\": \"a\tb\"}",
    "{\"return\": \"\\x\"}",
    "{\"return\": \"\\u12\"}",
    "{\"return\": \"\\u0000\"}",
    "{\"return\": \"\\ud800\"}",
    "{\"return\": \"\\ud800\\u0041\"}",
    "{\"return\": \"\\udc00\"}",
    "{\"return\": \"\\",
    "{\"return\": \"\\u",
  };

  for (gsize i = 0; i < G_N_ELEMENTS (lines); i++)
    assert_refused (lines[i]);
}

static char *
nest (guint depth)
{
  g_autofree char *opening = g_strnfill (depth, '[');
  g_autofree char *closing = g_strnfill (depth, ']');

  return g_strdup_printf ("{\"return\":%s%s}", opening, closing);
}

static void
test_nesting_has_an_end (void)
{
  g_autofree char *deepest = nest (QMP_MAX_DEPTH - 1);
  g_autofree char *deeper = nest (QMP_MAX_DEPTH);
  g_autofree char *much_deeper = nest (1000000);
  g_autoptr (QmpMessage) message = parse (deepest, NULL);

  g_assert_nonnull (message);
  assert_refused (deeper);
  assert_refused (much_deeper);
}

static void
test_every_prefix_is_refused (void)
{
  const char *line = "{\"return\": [\"\\u00e9\\n\", 1.5e3, true, {}], "
                     "\"id\": \"a\"}";
  gsize length = strlen (line);

  for (gsize n = 0; n < length; n++) {
    g_autofree char *prefix = g_strndup (line, n);

    assert_refused (prefix);
  }
}

static void
test_writes_one_line (void)
{
  g_autoptr (JsonObject) arguments = json_object_new ();
  g_autofree char *bare = qmp_message_format ("stop", NULL, NULL);
  g_autofree char *full = NULL;

  json_object_set_string_member (arguments, "text", "a\n\"b\"");
  full = qmp_message_format ("do", arguments, "i");
  g_assert_cmpstr (bare, ==, "{\"execute\":\"stop\"}\n");
  g_assert_cmpstr (full, ==,
                   "{\"execute\":\"do\",\"arguments\":{\"text\":"
                   "\"a\\n\\\"b\\\"\"},\"id\":\"i\"}\n");
}

static void
assert_error (const char *line, int code, const char *text)
{
  g_autoptr (QmpMessage) message = parse (line, NULL);
  g_autoptr (GError) error = NULL;

  g_assert_nonnull (message);
  g_assert_false (qmp_message_set_error (message->body, "cmd", &error));
  g_assert_error (error, QMP_ERROR, code);
  g_assert_cmpstr (error->message, ==, text);
}

static void
test_errors_have_a_code_by_their_class (void)
{
  assert_error ("{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"d\"}}",
                QMP_ERROR_NO_COMMAND, "cmd: d");
  assert_error ("{\"error\":{\"class\":\"DeviceNotActive\",\"desc\":\"d\"}}",
                QMP_ERROR_NOT_ACTIVE, "cmd: d");
  assert_error ("{\"error\":{\"class\":\"GenericError\",\"desc\":\"a\\nb\"}}",
                QMP_ERROR_COMMAND, "cmd: a b");
  assert_error ("{\"error\":{\"class\":1,\"desc\":2}}", QMP_ERROR_COMMAND,
                "cmd: an error without a text");
}

static void
test_an_errors_text_has_an_end (void)
{
  g_autofree char *text = g_strnfill (100000, 'x');
  g_autofree char *line =
      g_strdup_printf ("{\"error\":{\"desc\":\"%s\"}}", text);
  g_autoptr (QmpMessage) message = parse (line, NULL);
  g_autoptr (GError) error = NULL;

  qmp_message_set_error (message->body, "cmd", &error);
  g_assert_cmpuint (strlen (error->message), <, 2000);
}

static void
test_members_are_taken_by_their_type (void)
{
  g_autoptr (JsonNode) node = json_from_string (
      "{\"s\":\"x\",\"n\":5,\"m\":-5,\"b\":true,\"o\":{},\"a\":[],"
      "\"z\":null}",
      NULL);
  JsonObject *object = qmp_json_as_object (node);

  g_assert_cmpstr (qmp_json_string (object, "s"), ==, "x");
  g_assert_null (qmp_json_string (object, "n"));
  g_assert_null (qmp_json_string (object, "z"));
  g_assert_null (qmp_json_string (object, "nothing"));
  g_assert_cmpint (qmp_json_size (object, "n", 1), ==, 5);
  g_assert_cmpint (qmp_json_size (object, "m", 1), ==, 1);
  g_assert_cmpint (qmp_json_size (object, "s", 1), ==, 1);
  g_assert_true (qmp_json_boolean (object, "b"));
  g_assert_false (qmp_json_boolean (object, "n"));
  g_assert_nonnull (qmp_json_object (object, "o"));
  g_assert_null (qmp_json_object (object, "a"));
  g_assert_nonnull (qmp_json_array (object, "a"));
  g_assert_null (qmp_json_array (object, "o"));
  g_assert_null (qmp_json_as_object (NULL));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qmp/message/tells-the-kinds-apart",
                   test_tells_the_kinds_apart);
  g_test_add_func ("/qmp/message/knows-an-id-that-is-not-ours",
                   test_knows_an_id_that_is_not_ours);
  g_test_add_func ("/qmp/message/reads-every-escape", test_reads_every_escape);
  g_test_add_func ("/qmp/message/refuses-what-is-no-message",
                   test_refuses_what_is_no_message);
  g_test_add_func ("/qmp/message/nesting-has-an-end", test_nesting_has_an_end);
  g_test_add_func ("/qmp/message/every-prefix-is-refused",
                   test_every_prefix_is_refused);
  g_test_add_func ("/qmp/message/writes-one-line", test_writes_one_line);
  g_test_add_func ("/qmp/message/errors-have-a-code-by-their-class",
                   test_errors_have_a_code_by_their_class);
  g_test_add_func ("/qmp/message/an-errors-text-has-an-end",
                   test_an_errors_text_has_an_end);
  g_test_add_func ("/qmp/message/members-are-taken-by-their-type",
                   test_members_are_taken_by_their_type);
  return g_test_run ();
}
