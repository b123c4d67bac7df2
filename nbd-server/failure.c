/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/failure.h"

#include "snapshot-core/base/error.h"

typedef struct {
  SnapNbdError code;
  const char *text;
} Failure;

static const Failure other = { SNAP_NBD_EIO, "the storage could not be read" };

/* Indexed by SnapError; what has no row is `other`. */
static const Failure failures[] = {
  [SNAP_ERROR_USAGE] = { SNAP_NBD_EINVAL, "the request is malformed" },
  [SNAP_ERROR_NOT_COMPARABLE] = { SNAP_NBD_EIO,
                                  "the two cannot be compared: make a full "
                                  "copy" },
  [SNAP_ERROR_UNSUPPORTED] = { SNAP_NBD_ENOTSUP, "the storage cannot do this" },
  [SNAP_ERROR_CORRUPT] = { SNAP_NBD_EIO, "the storage is damaged" },
  [SNAP_ERROR_CANCELLED] = { SNAP_NBD_ESHUTDOWN, "the server ends" },
};

static const Failure *
find (const GError *error)
{
  if (error->domain == SNAP_ERROR && error->code >= 0
      && error->code < (int) G_N_ELEMENTS (failures)
      && failures[error->code].text != NULL)
    return &failures[error->code];
  return &other;
}

SnapNbdError
snap_nbd_failure_code (const GError *error)
{
  return find (error)->code;
}

const char *
snap_nbd_failure_text (const GError *error)
{
  return find (error)->text;
}
