/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/json.h"

#include <string.h>

static void
test_schema_comes_first (void)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("list");
  g_autofree char *text = NULL;

  cli_json_add_text (json, "a", "b");
  text = cli_json_end (json);
  g_assert_cmpstr (text, ==, "{\"schema\":\"nbdsnap/list/1\",\"a\":\"b\"}");
}

static void
test_values_are_written_as_documented (void)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("x");
  g_autofree char *text = NULL;

  cli_json_add_text (json, "none", NULL);
  cli_json_add_uint (json, "big", G_GUINT64_CONSTANT (1) << 62);
  cli_json_add_bool (json, "yes", TRUE);
  cli_json_add_time (json, "then", 1 * G_USEC_PER_SEC);
  cli_json_add_time (json, "unknown", 0);
  cli_json_begin_array (json, "list");
  cli_json_add_element (json, "one");
  json_builder_end_array (json);
  text = cli_json_end (json);
  g_assert_cmpstr (text, ==,
                   "{\"schema\":\"nbdsnap/x/1\",\"none\":null,"
                   "\"big\":4611686018427387904,\"yes\":true,"
                   "\"then\":\"1970-01-01T00:00:01Z\",\"unknown\":null,"
                   "\"list\":[\"one\"]}");
}

/* Whatever a name holds, the text is one line of valid JSON and UTF-8. */
static void
test_any_name_gives_valid_json (void)
{
  static const char *const names[] = { "a\"b\\c", "line\nbreak\r\033",
                                       "\xff\xfe", "\x7f", "grün" };

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (JsonBuilder) json = cli_json_begin ("x");
    g_autoptr (JsonParser) parser = json_parser_new ();
    g_autoptr (GError) error = NULL;
    g_autofree char *text = NULL;

    cli_json_add_text (json, "name", names[i]);
    text = cli_json_end (json);
    g_assert_null (strchr (text, '\n'));
    g_assert_true (g_utf8_validate (text, -1, NULL));
    json_parser_load_from_data (parser, text, -1, &error);
    g_assert_no_error (error);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cli/json/schema-comes-first", test_schema_comes_first);
  g_test_add_func ("/cli/json/values-are-written-as-documented",
                   test_values_are_written_as_documented);
  g_test_add_func ("/cli/json/any-name-gives-valid-json",
                   test_any_name_gives_valid_json);
  return g_test_run ();
}
