/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a snapshot of ours is called in storage that has room for one text a
 * snapshot: the name says what it is, that it is ours, and which set it
 * belongs to.  "mon.nbdsnap-7f3c9a1e24b0c6d8" is "mon" of the set
 * 7f3c9a1e24b0c6d8.
 */
#ifndef SNAP_DRIVERS_NATIVE_NAME_H
#define SNAP_DRIVERS_NATIVE_NAME_H

#include <glib.h>

/* "NAME.nbdsnap-SET_ID"; the caller frees. */
char *snap_native_name_format (const char *name, const char *set_id);

/* Take a native name apart: TRUE with both parts (the caller frees) if it is
   one that we give, FALSE for anybody else's. */
gboolean snap_native_name_parse (const char *native, char **name,
                                 char **set_id);

#endif
