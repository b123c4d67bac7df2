/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ending with the process that started us.
 */
#ifndef CLI_PARENT_H
#define CLI_PARENT_H

#include <glib.h>

/*
 * Open a descriptor that becomes readable when the parent has ended.
 *
 * Errors: CANCELLED (it has), IO.
 */
int cli_parent_open (GError **error);

#endif
