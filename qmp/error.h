/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain of the QMP client and the guest agent's.
 *
 * A code exists where a caller acts differently on it.  QEMU's descriptions
 * are for people: nothing decides by their text, only by their class.
 */
#ifndef QMP_ERROR_H
#define QMP_ERROR_H

#include <glib.h>

#define QMP_ERROR (qmp_error_quark ())

typedef enum {
  QMP_ERROR_BUSY,    /* connected, but silent: another client has it */
  QMP_ERROR_GONE,    /* nobody listens there, or the peer has closed: no process
                     is behind it any more */
  QMP_ERROR_TIMEOUT, /* no answer in time; the command may still be run */
  QMP_ERROR_PROTOCOL,   /* the peer does not speak QMP, or sends too much; or
                           the system does not let us speak to it */
  QMP_ERROR_COMMAND,    /* answered with an error of no class of its own */
  QMP_ERROR_NO_COMMAND, /* CommandNotFound: unknown, or not allowed now */
  QMP_ERROR_NOT_ACTIVE, /* DeviceNotActive: no such job */
  QMP_ERROR_CANCELLED,
} QmpError;

GQuark qmp_error_quark (void);

/* Set *error with a code and a message; returns FALSE. */
gboolean qmp_error_set (GError **error, QmpError code, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

#endif
