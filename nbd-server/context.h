/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata contexts: what they are called, and which of them a query means.
 *
 *   base:allocation          bit 0 hole, bit 1 zero
 *   qemu:dirty-bitmap:BASE   bit 0 changed since BASE
 *   nbdsnap:clean:BASE       bit 0 not changed since BASE
 */
#ifndef NBD_SERVER_CONTEXT_H
#define NBD_SERVER_CONTEXT_H

#include <glib.h>

typedef enum {
  SNAP_NBD_CONTEXT_ALLOCATION,
  SNAP_NBD_CONTEXT_DIRTY,
  SNAP_NBD_CONTEXT_CLEAN,
} SnapNbdContextKind;

typedef struct {
  SnapNbdContextKind kind;
  char *base; /* owned; NULL for allocation */
} SnapNbdContext;

/* An array of SnapNbdContext that owns their strings. */
GArray *snap_nbd_contexts_new (void);

/* The caller frees.  @base may be NULL for allocation. */
char *snap_nbd_context_name (SnapNbdContextKind kind, const char *base);

/* What a name says; *base is borrowed from it.  FALSE: none of ours, or a
   wildcard. */
gboolean snap_nbd_context_parse (const char *name, SnapNbdContextKind *kind,
                                 const char **base);

/* Whether @query, a name or a wildcard, means the context called @name. */
gboolean snap_nbd_context_matches (const char *query, const char *name);

#endif
