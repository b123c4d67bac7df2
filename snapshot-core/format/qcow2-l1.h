/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to layers and diffs: an L1 table, read and checked.
 */
#ifndef SNAP_FORMAT_QCOW2_L1_H
#define SNAP_FORMAT_QCOW2_L1_H

#include "snapshot-core/format/qcow2-entry.h"
#include "snapshot-core/format/qcow2-header.h"

typedef struct {
  guint64 *entries; /* with the COPIED flag */
  guint64 n;        /* all after them are 0 */
} SnapQcow2L1;

/*
 * Read at most @n entries at @offset into @self, which the caller clears,
 * also after an error.
 *
 * Errors: CORRUPT (reserved bits, or an L2 table that is unaligned or not
 * wholly in the file), IO.
 */
gboolean snap_qcow2_l1_init (SnapQcow2L1 *self, SnapReader *reader,
                             const SnapQcow2Header *header, guint64 offset,
                             guint64 n, GError **error);
void snap_qcow2_l1_clear (SnapQcow2L1 *self);

/* Where an L2 table lies in the file; 0 where nothing is allocated. */
static inline guint64
snap_qcow2_l1_at (const SnapQcow2L1 *self, guint64 index)
{
  return index < self->n ? self->entries[index] & SNAP_QCOW2_ENTRY_OFFSET : 0;
}

/* Whether an L2 table is marked as nobody else's. */
static inline gboolean
snap_qcow2_l1_is_copied (const SnapQcow2L1 *self, guint64 index)
{
  return index < self->n && (self->entries[index] & SNAP_QCOW2_ENTRY_COPIED);
}

#endif
