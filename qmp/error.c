/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/error.h"

G_DEFINE_QUARK (qmp - error - quark, qmp_error)

gboolean
qmp_error_set (GError **error, QmpError code, const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, QMP_ERROR, code, message);
  return FALSE;
}
