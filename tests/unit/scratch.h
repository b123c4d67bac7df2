/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory for one test, removed with all that is in it.
 */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <glib.h>

char *scratch_new (void);
void scratch_free (char *path);

/* Copy a directory of plain files and directories to a new scratch. */
char *scratch_copy (const char *path);

typedef char Scratch;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Scratch, scratch_free)

#endif
