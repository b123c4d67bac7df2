/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/reference.h"

#include <string.h>

static gboolean
usage (GError **error, const char *object, const char *fact)
{
  return snap_error_set (error, SNAP_ERROR_USAGE, "%s: %s", object, fact);
}

/* ---- decoding ---- */

typedef enum {
  DECODE_LOCATION, /* %40 %23 %25 only: a stray '%' in a path is an error */
  DECODE_POINT,    /* any %XX but %00 */
} DecodeMode;

/* The byte that "%XX" at @at stands for, or -1. */
static int
decode_escape (const char *at, DecodeMode mode)
{
  int high = g_ascii_xdigit_value (at[1]);
  int low = high < 0 ? -1 : g_ascii_xdigit_value (at[2]);
  int byte = low < 0 ? -1 : high << 4 | low;

  if (mode == DECODE_LOCATION && byte >= 0
      && (byte == 0 || strchr ("@#%", byte) == NULL))
    return -1;
  return byte;
}

static const char *
decode_fault (int byte, DecodeMode mode)
{
  if (mode == DECODE_LOCATION)
    return "here '%' starts only %40, %23 or %25; write it as %25";
  return byte == 0 ? "no name holds the byte %00"
                   : "'%' wants two hex digits; write it as %25";
}

static char *
decode (const char *text, gsize length, DecodeMode mode, GError **error)
{
  g_autoptr (GString) out = g_string_sized_new (length);
  g_autofree char *copy = g_strndup (text, length);

  for (const char *at = copy; *at != '\0'; at++) {
    int byte = (guchar) *at;

    if (*at == '%') {
      byte = decode_escape (at, mode);
      if (byte <= 0) {
        usage (error, copy, decode_fault (byte, mode));
        return NULL;
      }
      at += 2;
    }
    g_string_append_c (out, byte);
  }
  return g_string_free (g_steal_pointer (&out), FALSE);
}

gboolean
snap_point_range_parse (const char *text, char **from, char **to,
                        GError **error)
{
  const char *dots = strstr (text, "..");
  const char *second = dots != NULL ? dots + 2 : text;
  g_autofree char *first = NULL;

  if (*text == '\0')
    return usage (error, "@", "no name stands after it");
  if (dots != NULL
      && (dots == text || *second == '\0' || *second == '.'
          || strstr (second, "..") != NULL))
    return usage (error, text,
                  "a range is FROM..TO; write a dot of a name as %2E there");
  if (strpbrk (text, "@#") != NULL)
    return usage (error, text, "in a point write '@' as %40 and '#' as %23");

  if (dots != NULL) {
    first = decode (text, dots - text, DECODE_POINT, error);
    if (first == NULL)
      return FALSE;
  }
  *to = decode (second, strlen (second), DECODE_POINT, error);
  if (*to == NULL)
    return FALSE;
  *from = g_steal_pointer (&first);
  return TRUE;
}

/* ---- encoding ---- */

static void
encode_byte (GString *out, guchar byte)
{
  g_string_append_printf (out, "%%%02X", byte);
}

static void
encode_location (GString *out, const char *text)
{
  for (const char *at = text; *at != '\0'; at++)
    if (strchr ("@#%", *at) != NULL)
      encode_byte (out, *at);
    else
      g_string_append_c (out, *at);
}

/* Whether the dot at @at could be taken for a part of "..". */
static gboolean
is_doubtful_dot (const char *text, const char *at)
{
  return *at == '.'
         && (at == text || at[-1] == '.' || at[1] == '.' || at[1] == '\0');
}

/* Length of the printable UTF-8 character at @at, or 0. */
static gsize
plain_length (const char *at)
{
  gunichar c = g_utf8_get_char_validated (at, -1);

  if ((gint32) c < 0 || !g_unichar_isgraph (c) || strchr ("@#%", *at) != NULL)
    return 0;
  return g_unichar_to_utf8 (c, NULL);
}

static void
encode_point (GString *out, const char *text)
{
  const char *at = text;

  while (*at != '\0') {
    gsize length = is_doubtful_dot (text, at) ? 0 : plain_length (at);

    if (length > 0)
      g_string_append_len (out, at, length);
    else
      encode_byte (out, *at);
    at += MAX (length, 1);
  }
}

char *
snap_point_range_format (const char *from, const char *to)
{
  GString *out = g_string_new (NULL);

  if (from != NULL) {
    encode_point (out, from);
    g_string_append (out, "..");
  }
  encode_point (out, to);
  return g_string_free (out, FALSE);
}

char *
snap_reference_format (const char *driver, const char *location,
                       const char *part, const char *from, const char *to)
{
  GString *out = g_string_new (NULL);

  if (driver != NULL)
    g_string_append_printf (out, "%s:", driver);
  encode_location (out, location);
  if (part != NULL) {
    g_string_append_c (out, '#');
    encode_location (out, part);
  }
  if (to != NULL) {
    g_autofree char *range = snap_point_range_format (from, to);

    g_string_append_printf (out, "@%s", range);
  }
  return g_string_free (out, FALSE);
}

/* ---- references ---- */

/* Skip a driver prefix; a colon in a path, after a '/', is none. */
static const char *
split_driver (SnapRegistry *registry, const char *text,
              const SnapDriver **driver)
{
  gsize length = strcspn (text, ":/");
  g_autofree char *prefix = g_strndup (text, length);

  if (text[length] != ':')
    return text;
  *driver = snap_registry_lookup (registry, prefix);
  return *driver != NULL ? text + length + 1 : text;
}

/* Split "LOCATION#PART" of @length bytes. */
static gboolean
parse_place (SnapReference *self, const char *text, gsize length,
             GError **error)
{
  const char *hash = memchr (text, '#', length);
  gsize location_length = hash != NULL ? (gsize) (hash - text) : length;

  if (location_length == 0)
    return usage (error, *text != '\0' ? text : "''", "no volume is named");
  self->location = decode (text, location_length, DECODE_LOCATION, error);
  if (self->location == NULL || hash == NULL)
    return self->location != NULL;

  length -= location_length + 1;
  if (length == 0)
    return usage (error, text, "no part is named after '#'");
  if (memchr (hash + 1, '#', length) != NULL)
    return usage (error, text, "there is a second '#'; write it as %23");
  self->part = decode (hash + 1, length, DECODE_LOCATION, error);
  return self->part != NULL;
}

static gboolean
parse_parts (SnapReference *self, const char *text, GError **error)
{
  const char *at = strchr (text, '@');

  if (at != NULL && strchr (at + 1, '@') != NULL)
    return usage (error, text, "there is a second '@'; in a path write %40");
  if (!parse_place (self, text,
                    at != NULL ? (gsize) (at - text) : strlen (text), error))
    return FALSE;
  return at == NULL
         || snap_point_range_parse (at + 1, &self->from, &self->to, error);
}

/* A path with '@', '#' or '%' in it, typed as it is, deserves a better word
   than that there is no such volume. */
static gboolean
refuse_plain_path (const SnapReference *self, const char *text, GError **error)
{
  g_autofree char *written = NULL;

  if (strpbrk (text, "@#%") == NULL || !g_file_test (text, G_FILE_TEST_EXISTS)
      || (self->location != NULL
          && g_file_test (self->location, G_FILE_TEST_EXISTS)))
    return TRUE;
  g_clear_error (error);
  written = snap_reference_format (NULL, text, NULL, NULL, NULL);
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         "%s: is a file; write its path as %s", text, written);
}

SnapReference *
snap_reference_parse (SnapRegistry *registry, const char *text, GError **error)
{
  g_autoptr (SnapReference) self = g_new0 (SnapReference, 1);
  const char *rest = split_driver (registry, text, &self->driver);
  GError *reason = NULL;
  gboolean parsed = parse_parts (self, rest, &reason);

  if (!refuse_plain_path (self, rest, &reason) || !parsed) {
    g_propagate_error (error, reason);
    return NULL;
  }
  return g_steal_pointer (&self);
}

void
snap_reference_free (SnapReference *self)
{
  if (self == NULL)
    return;
  g_free (self->location);
  g_free (self->part);
  g_free (self->from);
  g_free (self->to);
  g_free (self);
}
