/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the state directory: reading one of its documents.
 */
#ifndef SNAP_SERVICE_STATE_TEXT_H
#define SNAP_SERVICE_STATE_TEXT_H

#include <glib.h>

/* The text of a file, which the caller frees; NULL without an error when
   there is no such file or directory. */
char *snap_state_read_text (const char *path, GError **error);

#endif
