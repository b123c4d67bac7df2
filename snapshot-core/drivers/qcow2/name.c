/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot table has room for one text a snapshot, its name.  So the name
 * says what it is, that it is ours, and which set it belongs to:
 * "mon.nbdsnap-7f3c9a1e24b0c6d8" is "mon" of set 7f3c9a1e24b0c6d8.
 *
 * Where the image has backing files it also says, in eight more digits, how
 * they were named: a snapshot shows other content once they are others, and
 * nothing else in the image tells.
 */
#include "config.h"

#include "snapshot-core/drivers/qcow2/qcow2.h"

#include <string.h>

#define MARK ".nbdsnap-"
#define SET_ID_LENGTH 16
#define CHAIN_LENGTH 8

static gboolean
is_hex (const char *text, gsize length)
{
  return strlen (text) >= length && strspn (text, "0123456789abcdef") >= length;
}

static gboolean
is_end (const char *text)
{
  if (!is_hex (text, SET_ID_LENGTH))
    return FALSE;
  text += SET_ID_LENGTH;
  return *text == '\0'
         || (*text == '-' && is_hex (text + 1, CHAIN_LENGTH)
             && text[1 + CHAIN_LENGTH] == '\0');
}

char *
qcow2_name_native (const char *name, const char *set_id, const char *chain)
{
  return g_strconcat (name, MARK, set_id, chain != NULL ? "-" : NULL, chain,
                      NULL);
}

gboolean
qcow2_name_parse (const char *native, char **name, char **set_id)
{
  const char *mark = g_strrstr (native, MARK);

  if (mark == NULL || mark == native || !is_end (mark + strlen (MARK)))
    return FALSE;
  *name = g_strndup (native, mark - native);
  *set_id = g_strndup (mark + strlen (MARK), SET_ID_LENGTH);
  return TRUE;
}

const char *
qcow2_name_chain (const char *native)
{
  const char *mark = g_strrstr (native, MARK);

  g_return_val_if_fail (mark != NULL, NULL);
  mark += strlen (MARK) + SET_ID_LENGTH;
  return *mark == '-' ? mark + 1 : NULL;
}

char *
qcow2_chain_name (const GPtrArray *chain)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);

  if (chain->len < 2)
    return NULL;
  for (guint i = 0; i < chain->len; i++) {
    const Qcow2File *file = g_ptr_array_index (chain, i);
    const char *below =
        file->header != NULL ? file->header->backing_file : NULL;

    if (below != NULL)
      g_checksum_update (sum, (const guint8 *) below, strlen (below) + 1);
  }
  return g_strndup (g_checksum_get_string (sum), CHAIN_LENGTH);
}
