/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image of a snapshot that is a plain file which nobody writes to.
 *
 * Reads leave the page cache as they found it: what was not in memory before
 * is dropped again.  The file must belong to the snapshot alone, so that its
 * pages serve nobody else.
 */
#ifndef SNAP_DRIVERS_PLAIN_IMAGE_H
#define SNAP_DRIVERS_PLAIN_IMAGE_H

#include "snapshot-core/drivers/driver.h"

/* Takes over @fd, on error too.  @name is for messages. */
SnapImage *snap_plain_image_take (int fd, const char *name, GError **error);

#endif
