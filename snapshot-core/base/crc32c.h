/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected), as RFC 3720
 * appendix B.4 has it, but without the two inversions: callers that want
 * them invert themselves.
 */
#ifndef SNAP_BASE_CRC32C_H
#define SNAP_BASE_CRC32C_H

#include <glib.h>

/* Continue @crc over @length bytes. */
guint32 snap_crc32c (guint32 crc, const void *data, gsize length);

#endif
