/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work that dead makers left in the journal, finished by the verbs that
 * change something before they begin.
 */
#ifndef CLI_LEFTOVERS_H
#define CLI_LEFTOVERS_H

#include "cli/command.h"
#include "snapshot-core/service/set.h"

/*
 * Finish what can be finished and say so on standard error.  What cannot be
 * finished (its storage may be away) is said too, and keeps nobody from
 * working elsewhere.  Errors: IO, the journal itself cannot be read.
 */
gboolean cli_leftovers_finish (Cli *cli, GError **error);

/* Say on standard error which commands of a user's may not have been run. */
void cli_leftovers_say_owed (const SnapSetFound *found);

/* The ids of unfinished sets whose makers are gone, char * freed by the
   array, without finishing them. */
GPtrArray *cli_leftovers_list (Cli *cli, GError **error);

#endif
