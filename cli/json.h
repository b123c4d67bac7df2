/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The JSON that verbs print: one object a run, "schema" first, on one line.
 *
 * Members are only ever added to a schema; a change of meaning is a new one.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <json-glib/json-glib.h>

/* An open object with "schema":"nbdsnap/VERB/1"; g_object_unref() it. */
JsonBuilder *cli_json_begin (const char *verb);

/* Add members.  A NULL text is null; bytes that are not UTF-8 are replaced. */
void cli_json_add_text (JsonBuilder *self, const char *member,
                        const char *text);
void cli_json_add_uint (JsonBuilder *self, const char *member, guint64 value);
void cli_json_add_bool (JsonBuilder *self, const char *member, gboolean value);
/* RFC 3339 in UTC, or null for 0. */
void cli_json_add_time (JsonBuilder *self, const char *member, gint64 time_us);
void cli_json_begin_array (JsonBuilder *self, const char *member);
/* Add a text to the open array. */
void cli_json_add_element (JsonBuilder *self, const char *text);

/* Close the outermost object and take its text; the caller frees. */
char *cli_json_end (JsonBuilder *self);

/* The same, printed as a line.  Errors: as cli_print(). */
gboolean cli_json_print (JsonBuilder *self, GError **error);

#endif
