/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/text.h"

/* The length of the printable character at @at, 0 if there is none. */
static gsize
printable_length (const char *at, gboolean utf8)
{
  gunichar c;

  if ((guchar) *at < 0x80)
    return g_ascii_isprint (*at) ? 1 : 0;
  c = utf8 ? g_utf8_get_char_validated (at, -1) : (gunichar) -1;
  if (c >= (gunichar) -2 || !g_unichar_isprint (c)
      || g_unichar_type (c) == G_UNICODE_LINE_SEPARATOR
      || g_unichar_type (c) == G_UNICODE_PARAGRAPH_SEPARATOR)
    return 0;
  return g_utf8_next_char (at) - at;
}

char *
snap_text_escape (const char *text, gboolean utf8)
{
  GString *escaped = g_string_new (NULL);

  for (const char *at = text; *at != '\0';) {
    gsize length = printable_length (at, utf8);

    if (length > 0)
      g_string_append_len (escaped, at, length);
    else
      g_string_append_printf (escaped, "\\x%02x", (guchar) *at);
    at += MAX (length, 1);
  }
  return g_string_free (escaped, FALSE);
}
