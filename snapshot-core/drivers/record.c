/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/record.h"

#include "snapshot-core/base/error.h"

char *
snap_record_format (const char *const *words)
{
  GString *record = g_string_new (NULL);

  for (; *words != NULL; words++) {
    if (record->len > 0)
      g_string_append_c (record, ' ');
    g_string_append_uri_escaped (record, *words, "/", FALSE);
  }
  return g_string_free (record, FALSE);
}

char **
snap_record_parse (const char *record, guint n, GError **error)
{
  g_auto (GStrv) words = g_strsplit (record, " ", n + 1);
  gboolean good = g_strv_length (words) == n;

  for (guint i = 0; good && i < n; i++) {
    char *plain = g_uri_unescape_string (words[i], NULL);

    good = plain != NULL && *plain != '\0';
    g_free (words[i]);
    words[i] = plain != NULL ? plain : g_strdup ("");
  }
  if (good)
    return g_steal_pointer (&words);
  snap_error_set (error, SNAP_ERROR_CORRUPT,
                  "journal: not a record of this driver: %s", record);
  return NULL;
}
