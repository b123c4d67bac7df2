/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/tls-keys.h"

#include <string.h>

#include "snapshot-core/base/error.h"

/* Of a key, bytes: a shorter one can be guessed, a longer one is more than
   OpenSSL takes. */
#define MIN_KEY 16
#define MAX_KEY 256

#define MAX_FILE (1024 * 1024)

static void
free_key (gpointer key)
{
  g_bytes_unref (key);
}

/* NULL if it is none. */
static GBytes *
parse_key (const char *digits)
{
  gsize length = strlen (digits);
  g_autofree guint8 *key = NULL;

  if (length % 2 != 0 || length < 2 * MIN_KEY || length > 2 * MAX_KEY
      || strspn (digits, "0123456789abcdefABCDEF") != length)
    return NULL;
  key = g_malloc (length / 2);
  for (gsize i = 0; i < length; i += 2)
    key[i / 2] = g_ascii_xdigit_value (digits[i]) << 4
                 | g_ascii_xdigit_value (digits[i + 1]);
  return g_bytes_new_take (g_steal_pointer (&key), length / 2);
}

static gboolean
add_line (GHashTable *keys, char *line)
{
  char *colon = strrchr (g_strchomp (line), ':');
  GBytes *key;

  if (line[0] == '\0' || line[0] == '#')
    return TRUE;
  if (colon == NULL || colon == line)
    return FALSE;
  key = parse_key (colon + 1);
  if (key == NULL)
    return FALSE;
  g_hash_table_insert (keys, g_strndup (line, colon - line), key);
  return TRUE;
}

static gboolean
parse (GHashTable *keys, const char *text, const char *path, GError **error)
{
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);

  for (guint i = 0; lines[i] != NULL; i++)
    if (!add_line (keys, lines[i]))
      return snap_error_set (error, SNAP_ERROR_CORRUPT,
                             "%s: line %u is not NAME:KEY with a key of %d to "
                             "%d bytes as hexadecimal digits",
                             path, i + 1, MIN_KEY, MAX_KEY);
  if (g_hash_table_size (keys) > 0)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: no key is in it",
                         path);
}

GHashTable *
snap_nbd_tls_keys_read (const char *path, GError **error)
{
  g_autoptr (GHashTable) keys =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_key);
  g_autofree char *text = NULL;
  gboolean done;
  GError *reason = NULL;
  gsize length;

  if (!g_file_get_contents (path, &text, &length, &reason)) {
    snap_error_set (error,
                    g_error_matches (reason, G_FILE_ERROR, G_FILE_ERROR_NOENT)
                        ? SNAP_ERROR_NOT_FOUND
                        : SNAP_ERROR_IO,
                    "%s: cannot be read", path);
    g_error_free (reason);
    return NULL;
  }
  done = length <= MAX_FILE && strlen (text) == length
             ? parse (keys, text, path, error)
             : snap_error_set (error, SNAP_ERROR_CORRUPT,
                               "%s: is no file of keys", path);
  explicit_bzero (text, length);
  return done ? g_steal_pointer (&keys) : NULL;
}
