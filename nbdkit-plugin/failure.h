/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an error leaves the plugin: its message to nbdkit's log, its code to
 * the client as the errno of the request.
 */
#ifndef NBDKIT_PLUGIN_FAILURE_H
#define NBDKIT_PLUGIN_FAILURE_H

#include <glib.h>

/* The errno that stands for @error. */
int plugin_errno (const GError *error);

/*
 * Report @error to nbdkit.  Returns -1, so that a callback can return it.
 */
int plugin_fail (const GError *error);

#endif
