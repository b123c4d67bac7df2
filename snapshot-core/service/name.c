/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names for new snapshots.  They are narrow on purpose: each storage must be
 * able to keep them, and no shell or separator of ours may trip over them.
 */
#include "config.h"

#include "snapshot-core/service/reference.h"

#include <string.h>

#define DIGITS "0123456789"
#define WORD DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_+-"

gboolean
snap_name_is_reserved (const char *name)
{
  static const char *const reserved[] = { "live", "newest", "backing", "empty",
                                          NULL };

  return g_strv_contains (reserved, name);
}

/* What is wrong with a name, or NULL. */
static const char *
find_fault (const char *name)
{
  gsize length = strlen (name);

  if (length == 0)
    return "is empty";
  if (length > SNAP_NAME_MAX)
    return "is longer than 64 bytes";
  if (strspn (name, WORD ".") != length)
    return "may hold only letters, digits and _ + - .";
  if (!g_ascii_isalnum (name[0]))
    return "must start with a letter or digit";
  if (name[length - 1] == '.' || strstr (name, "..") != NULL)
    return "may have only single dots, and inside";
  if (strspn (name, DIGITS) == length)
    return "is all digits, which would be an id";
  if (snap_name_is_reserved (name))
    return "is a reserved word";
  return NULL;
}

gboolean
snap_name_check (const char *name, GError **error)
{
  const char *fault = find_fault (name);

  if (fault == NULL)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE, "snapshot name '%s': %s",
                         name, fault);
}

char *
snap_name_default (void)
{
  g_autoptr (GDateTime) now = g_date_time_new_now_utc ();

  return g_date_time_format (now, "%Y%m%dT%H%M%SZ");
}
