/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * many-diffs STATE-DIR: what `nbdsnap diff --json` says to each line of
 * standard input, its arguments with blanks between them.  After a diff that
 * fails a line says with which exit code, and why.  For judges with very many
 * questions, where starting a program costs more than answering.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"

/* What was printed of a diff that fails is no line by itself. */
static gboolean
answer (Cli *cli, GError **error)
{
  g_autoptr (GError) reason = NULL;

  return cli_command_diff.run (cli, &reason)
         || cli_print (error, "\n%d %s\n", cli_exit_code (reason),
                       reason->message);
}

int
main (int argc, char **argv)
{
  g_autoptr (SnapRegistry) registry = snap_registry_new ();
  g_autoptr (SnapState) state = snap_state_new (argc > 1 ? argv[1] : NULL);
  Cli cli = { .verb = "diff",
              .options = { .json = TRUE, .quiet = TRUE },
              .registry = registry,
              .state = state };
  char line[4096];
  g_autoptr (GError) error = NULL;

  cli_output_init ();
  while (error == NULL && fgets (line, sizeof line, stdin) != NULL) {
    g_auto (GStrv) args = g_strsplit (g_strchomp (line), " ", -1);

    cli.args = args;
    cli.n_args = g_strv_length (args);
    if (!answer (&cli, &error) || !cli_output_flush (&error))
      break;
  }
  if (error != NULL)
    cli_say ("%s", error->message);
  return error != NULL;
}
