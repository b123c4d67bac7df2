/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The byte-range locks by which QEMU keeps programs from opening one image
 * in ways that do not go together.
 *
 * Source: QEMU block/file-posix.c: open-file-description locks; byte 100 + n
 * is read-locked by who uses permission n, byte 200 + n by who does not let
 * others use it (0 consistent read, 1 write, 3 resize).
 */
#ifndef SNAP_OS_IMAGE_LOCK_H
#define SNAP_OS_IMAGE_LOCK_H

#include <glib.h>

/*
 * Become a reader of the image on @fd that lets no writer or resizer in, as
 * read-only QEMU tools do.  Lasts until the last copy of @fd is closed.
 *
 * Errors: BUSY (somebody writes, resizes, or forbids readers: the message
 * names which of QEMU's locks it is), IO.
 */
gboolean snap_image_lock_read (int fd, const char *name, GError **error);

/*
 * Open the file or block device of an image and become such a reader of it.
 * Returns the descriptor, or -1.
 *
 * Errors: as above, NOT_FOUND, UNSUPPORTED (something else than a file or block
 * device).
 */
int snap_image_open_read (const char *path, GError **error);

/* Let go of it before the descriptor is closed. */
void snap_image_unlock (int fd);

#endif
