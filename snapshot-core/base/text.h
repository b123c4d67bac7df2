/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text of the outside in messages.
 */
#ifndef SNAP_BASE_TEXT_H
#define SNAP_BASE_TEXT_H

#include <glib.h>

/*
 * Make text of the outside safe to print on one line: bytes that are not
 * printable become \xNN.  Without @utf8 that is every byte outside ASCII.  The
 * caller frees.
 */
char *snap_text_escape (const char *text, gboolean utf8);

#endif
