/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exports: what a server offers, resolved to identities once, at start.
 *
 * Both servers stand on this: an export is an image plus, for "BASE..SNAP",
 * the dirty extents since BASE.  Sizes are padded to a multiple of 512 with
 * zeroes.
 *
 * Threads: everything after snap_exports_resolve() may be called from many
 * threads.
 */
#ifndef SNAP_SERVICE_EXPORT_H
#define SNAP_SERVICE_EXPORT_H

#include "snapshot-core/service/diff.h"

/* Export sizes are multiples of this, bytes. */
#define SNAP_EXPORT_BLOCK 512

typedef struct _SnapExports SnapExports;
typedef struct _SnapExport SnapExport;

/* One reference on a command line; label NULL for none given. */
typedef struct {
  const char *label;
  const char *reference;
} SnapExportSource;

/*
 * Resolve references (volumes, points or ranges) to exports: opens the
 * volumes, fixes their points, holds them all.  Starts no thread or process.
 *
 * Errors: USAGE (names clash: the message says how to label), NOT_FOUND,
 * BUSY, NOT_COMPARABLE (a range), …
 */
SnapExports *snap_exports_resolve (SnapRegistry *registry, SnapState *state,
                                   const SnapExportSource *sources,
                                   gsize n_sources,
                                   const SnapOpenOptions *options,
                                   GError **error);
void snap_exports_free (SnapExports *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapExports, snap_exports_free)

/* Called for each export name a client may list, with its description. */
typedef gboolean (*SnapExportNameFunc) (const char *name,
                                        const char *description,
                                        gpointer user_data);
void snap_exports_list (SnapExports *self, SnapExportNameFunc func,
                        gpointer user_data);

/* The name that "" stands for; borrowed; NULL if there is none. */
const char *snap_exports_default (SnapExports *self);

/*
 * Open an export by name ("" is the default).  Connections share what can be
 * shared.  Errors: NOT_FOUND, NOT_COMPARABLE, IO.
 */
SnapExport *snap_export_open (SnapExports *exports, const char *name,
                              GError **error);
void snap_export_close (SnapExport *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapExport, snap_export_close)

const char *snap_export_name (SnapExport *self); /* never "" */
const char *snap_export_description (SnapExport *self);
guint64 snap_export_size (SnapExport *self);       /* padded, bytes */
guint64 snap_export_image_size (SnapExport *self); /* the snapshot's own */
gboolean snap_export_is_range (SnapExport *self);

/* Read [offset, offset + length), inside the padded size. */
gboolean snap_export_read (SnapExport *self, guint64 offset, void *buffer,
                           gsize length, GError **error);

/* Where the bytes from @offset on lie plainly in a file; FALSE if they do not,
   or lie in the padding.  Nobody rewrites them while the export is open. */
gboolean snap_export_file_range (SnapExport *self, guint64 offset,
                                 guint64 length, SnapFileRange *range);

typedef enum {
  SNAP_EXPORT_PAGES_TO_KEEP,
  SNAP_EXPORT_PAGES_TO_DROP, /* remember which were there before */
} SnapExportPages;

/* Start reading a range into the page cache; never fails. */
void snap_export_prefetch (SnapExport *self, guint64 offset, guint64 length,
                           SnapExportPages pages);

/* Remember what of a file range is in the page cache before anything of it is
   used, unless a prefetch did. */
void snap_export_note (SnapExport *self, const SnapFileRange *range);

/* Drop the rest of it, and of what lies close to it, once that was used: what
   a socket still refers to stays. */
void snap_export_drop (SnapExport *self, const SnapFileRange *range);

/* The same of what was prefetched at [offset, offset + length). */
void snap_export_drop_range (SnapExport *self, guint64 offset, guint64 length);

/*
 * Emit true allocation (flags 0, HOLE, ZERO) of a range, gapless.
 */
gboolean snap_export_allocation (SnapExport *self, guint64 offset,
                                 guint64 length, SnapExtentFunc emit,
                                 gpointer user_data, GError **error);

/*
 * The dirty extents of a range export, computed at the first call and shared
 * by all connections; they do not reach into the padding.  Borrowed, as long
 * as the export is open.  A failure is kept and returned to every caller.
 */
const SnapExtents *snap_export_dirty (SnapExport *self, GError **error);

/* ---- several bases of one export ---- */

/* Two points, compared once, whoever asks.  Borrowed from the exports. */
typedef struct _SnapExportPair SnapExportPair;

/*
 * Also hold the older snapshots that exports of a single point can be compared
 * with.  For a server that offers them; call it once, before clients come.
 */
void snap_exports_hold_bases (SnapExports *self);

/* Make comparisons that run, and those to come, fail with CANCELLED. */
void snap_exports_cancel (SnapExports *self);

/* Called in the second process, first and last; both may be NULL. */
typedef struct {
  void (*begin) (gpointer user_data);
  void (*end) (gpointer user_data);
} SnapExportsTwinFuncs;

/*
 * Get ready to give up privileges: open everything that is held, and start a
 * second process that keeps them, makes the comparisons, and afterwards removes
 * what this one no longer can.  After snap_exports_hold_bases(), and before any
 * other thread is started.
 *
 * Errors: IO.
 */
gboolean snap_exports_separate (SnapExports *self,
                                const SnapExportsTwinFuncs *funcs,
                                gpointer user_data, GError **error);

/* Called with each base that an export lists, written as in export names. */
typedef gboolean (*SnapExportBaseFunc) (const char *base, gpointer user_data);

/* The base of a range, or the older points that are held and comparable, the
   nearest first. */
void snap_export_list_bases (SnapExport *self, SnapExportBaseFunc func,
                             gpointer user_data);

/*
 * Find the pair of a base and the export.  Of a range that is its own base
 * only; else any point that is held.  Errors: NOT_FOUND, NOT_COMPARABLE.
 */
SnapExportPair *snap_export_find_pair (SnapExport *self, const char *base,
                                       GError **error);

/* As snap_export_dirty(). */
const SnapExtents *snap_export_pair_dirty (SnapExportPair *self,
                                           GError **error);

/* Whether the comparison was made, so that asking takes no time. */
gboolean snap_export_pair_is_known (SnapExportPair *self);

#endif
