/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * References: [DRIVER:]LOCATION[#PART][@POINT] and [...]@FROM..TO.
 *
 * In a location %40 %23 %25 stand for @ # %; in a point any %XX.  A prefix is
 * a driver only if one of that name is registered and no '/' stands before
 * the colon.
 */
#ifndef SNAP_SERVICE_REFERENCE_H
#define SNAP_SERVICE_REFERENCE_H

#include "snapshot-core/service/registry.h"

/* The longest name that is given to a new snapshot, bytes. */
#define SNAP_NAME_MAX 64

typedef struct {
  const SnapDriver *driver; /* NULL: probe the location */
  char *location;           /* decoded */
  char *part;               /* decoded, or NULL */
  char *from;               /* decoded, only with a range */
  char *to;                 /* decoded; NULL for a bare volume */
} SnapReference;

/*
 * Parse @text.  The caller frees with snap_reference_free().
 *
 * Errors: USAGE (empty location or point, bad %XX, an embedded NUL, or the
 * plain path of a file that must be written with %XX), with the reason.
 */
SnapReference *snap_reference_parse (SnapRegistry *registry, const char *text,
                                     GError **error);
void snap_reference_free (SnapReference *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapReference, snap_reference_free)

/*
 * Write a reference that snap_reference_parse() reads back to the same parts.
 * @part, @from and @to may be NULL.  The caller frees.
 */
char *snap_reference_format (const char *driver, const char *location,
                             const char *part, const char *from,
                             const char *to);

/* Write what snap_point_range_parse() reads back; @from may be NULL.  The
   caller frees. */
char *snap_point_range_format (const char *from, const char *to);

/*
 * Check a name for a new snapshot: [A-Za-z0-9][A-Za-z0-9_+-]* with single
 * dots inside, at most SNAP_NAME_MAX bytes, not all digits, not reserved
 * (live, newest, backing, empty).  USAGE with the reason.
 */
gboolean snap_name_check (const char *name, GError **error);

/* Whether @name is live, newest, backing or empty. */
gboolean snap_name_is_reserved (const char *name);

/* The default name: now in UTC, "20261123T041500Z".  The caller frees. */
char *snap_name_default (void);

/* Split the export name "FROM..TO" or "TO" and decode both parts: *from is
   NULL for a single point.  Same errors as snap_reference_parse(). */
gboolean snap_point_range_parse (const char *text, char **from, char **to,
                                 GError **error);

#endif
