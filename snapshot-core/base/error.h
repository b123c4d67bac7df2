/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one error domain of the snapshot core.
 *
 * A code exists where some caller acts differently on it; everything else is
 * in the message, which names the object and the fact: "OBJECT: FACT".
 * Nothing below the front ends prints an error.
 */
#ifndef SNAP_BASE_ERROR_H
#define SNAP_BASE_ERROR_H

#include <glib.h>

#define SNAP_ERROR (snap_error_quark ())

typedef enum {
  SNAP_ERROR_FAILED,         /* failed, nothing changed */
  SNAP_ERROR_USAGE,          /* the request itself is malformed */
  SNAP_ERROR_NOT_FOUND,      /* no such volume, snapshot or export */
  SNAP_ERROR_EXISTS,         /* the name is taken */
  SNAP_ERROR_BUSY,           /* held or locked by somebody, try again */
  SNAP_ERROR_NOT_COMPARABLE, /* base gone or no proof, a full copy is needed */
  SNAP_ERROR_UNSUPPORTED,    /* this storage or driver cannot do it */
  SNAP_ERROR_CORRUPT,        /* metadata or input breaks its own format */
  SNAP_ERROR_IO,             /* the system failed a read or write */
  SNAP_ERROR_NO_SPACE,       /* refused before starting: no room */
  SNAP_ERROR_PARTIAL,        /* part-way; the journal holds the rest */
  SNAP_ERROR_CANCELLED,      /* interrupted and cleaned up */
  SNAP_ERROR_FROZEN,         /* a device or guest may still stand still */
} SnapError;

GQuark snap_error_quark (void);

/*
 * Set *error from a message and an errno value: "MESSAGE: strerror".
 *
 * The code is chosen from @errnum: ENOENT becomes NOT_FOUND, ENOSPC and
 * EDQUOT NO_SPACE, EWOULDBLOCK and EBUSY BUSY, everything else IO.
 *
 * Returns FALSE, so that a caller can return it.
 */
gboolean snap_error_set_errno (GError **error, int errnum, const char *format,
                               ...) G_GNUC_PRINTF (3, 4);

/*
 * Set *error with a code and a message.  Returns FALSE.
 */
gboolean snap_error_set (GError **error, SnapError code, const char *format,
                         ...) G_GNUC_PRINTF (3, 4);

/* The analyser sees one file at a time; it takes a caller that returned an
   error for one that may have gone on. */
#ifdef __clang_analyzer__
#define snap_error_set(...) (snap_error_set (__VA_ARGS__), FALSE)
#define snap_error_set_errno(...) (snap_error_set_errno (__VA_ARGS__), FALSE)
#endif

#endif
