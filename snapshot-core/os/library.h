/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A shared library that is loaded when it is first needed.
 *
 * For libraries that most commands never call, and that bring so many others
 * with them that loading them takes longer than the command.
 */
#ifndef SNAP_OS_LIBRARY_H
#define SNAP_OS_LIBRARY_H

#include <glib.h>

/* To write down the functions of a library once: F is one of these. */
#define SNAP_LIBRARY_POINTER(function) __typeof__ (function) *function;
#define SNAP_LIBRARY_NAME(function) #function,

/*
 * Load the library @soname, once and for good, and look up @n functions by
 * name.  @table is a struct of as many function pointers in the order of
 * @names; it lives as long as the program and begins as all NULL.
 *
 * Any thread may call this.  Errors: UNSUPPORTED (no such library, or it is
 * too old); then the table is all NULL.
 */
gboolean snap_library_load (const char *soname, const char *const *names,
                            gsize n, void *table, GError **error);

#endif
