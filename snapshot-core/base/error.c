/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/error.h"

#include <errno.h>

#undef snap_error_set
#undef snap_error_set_errno

G_DEFINE_QUARK (snap - error - quark, snap_error)

static SnapError
code_of_errno (int errnum)
{
  switch (errnum) {
  case ENOENT:
    return SNAP_ERROR_NOT_FOUND;
  case ENOSPC:
  case EDQUOT:
    return SNAP_ERROR_NO_SPACE;
  case EWOULDBLOCK:
  case EBUSY:
    return SNAP_ERROR_BUSY;
  default:
    return SNAP_ERROR_IO;
  }
}

gboolean
snap_error_set_errno (GError **error, int errnum, const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, SNAP_ERROR, code_of_errno (errnum), "%s: %s", message,
               g_strerror (errnum));
  return FALSE;
}

gboolean
snap_error_set (GError **error, SnapError code, const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, SNAP_ERROR, code, message);
  return FALSE;
}
