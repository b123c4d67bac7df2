/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/native-name.h"

#include <string.h>

#define MARK ".nbdsnap-"
#define SET_ID_LENGTH 16

static gboolean
is_set_id (const char *text)
{
  return strlen (text) == SET_ID_LENGTH
         && strspn (text, "0123456789abcdef") == SET_ID_LENGTH;
}

char *
snap_native_name_format (const char *name, const char *set_id)
{
  return g_strconcat (name, MARK, set_id, NULL);
}

gboolean
snap_native_name_parse (const char *native, char **name, char **set_id)
{
  const char *mark = g_strrstr (native, MARK);

  if (mark == NULL || mark == native || !is_set_id (mark + strlen (MARK)))
    return FALSE;
  *name = g_strndup (native, mark - native);
  *set_id = g_strdup (mark + strlen (MARK));
  return TRUE;
}
