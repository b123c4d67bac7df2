/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbdkit-plugin/failure.h"

#include <errno.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/base/text.h"

/*
 * Indexed by SnapError; every code has its row.  Only values that the protocol
 * can carry: another one would reach the client as EINVAL, which blames its
 * request.
 */
static const int errno_of[] = {
  [SNAP_ERROR_FAILED] = EIO,
  [SNAP_ERROR_USAGE] = EINVAL,
  [SNAP_ERROR_NOT_FOUND] = EIO,
  [SNAP_ERROR_EXISTS] = EIO,
  [SNAP_ERROR_BUSY] = EIO,
  [SNAP_ERROR_NOT_COMPARABLE] = EIO,
  [SNAP_ERROR_UNSUPPORTED] = ENOTSUP,
  [SNAP_ERROR_CORRUPT] = EIO,
  [SNAP_ERROR_IO] = EIO,
  [SNAP_ERROR_NO_SPACE] = ENOSPC,
  [SNAP_ERROR_PARTIAL] = EIO,
  [SNAP_ERROR_CANCELLED] = ESHUTDOWN,
  [SNAP_ERROR_FROZEN] = EIO,
};

int
plugin_errno (const GError *error)
{
  if (error->domain == SNAP_ERROR && error->code >= 0
      && error->code < (int) G_N_ELEMENTS (errno_of))
    return errno_of[error->code];
  return EIO;
}

int
plugin_fail (const GError *error)
{
  g_autofree char *line = snap_text_escape (error->message, TRUE);

  nbdkit_error ("%s", line);
  nbdkit_set_error (plugin_errno (error));
  return -1;
}
