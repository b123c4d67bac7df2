/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/leftovers.h"

#include "cli/output.h"
#include "snapshot-core/service/set.h"

gboolean
cli_leftovers_finish (Cli *cli, GError **error)
{
  g_autoptr (GHashTable) entries = snap_journal_list (cli->state, error);
  g_autoptr (GError) reason = NULL;
  g_auto (SnapSetFound) found = { 0 };

  if (entries == NULL)
    return FALSE;
  if (!snap_set_recover (cli->state, cli->registry, &found, &reason)) {
    cli->standing = g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_FROZEN);
    cli_say ("%s", reason->message);
  }
  cli_leftovers_say_owed (&found);
  if (found.n_finished > 0 && !cli->options.quiet)
    cli_say ("%s: interrupted runs finished: %u",
             snap_state_directory (cli->state), found.n_finished);
  return TRUE;
}

void
cli_leftovers_say_owed (const SnapSetFound *found)
{
  for (guint i = 0; found->owed != NULL && i < found->owed->len; i++) {
    const SnapSetOwed *owed = g_ptr_array_index (found->owed, i);

    cli_say ("%s: was killed before its post-cut command had ended, which is "
             "not run again: %s",
             owed->name, owed->command);
  }
}

GPtrArray *
cli_leftovers_list (Cli *cli, GError **error)
{
  g_autoptr (GPtrArray) ids = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GHashTable) seen =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (;;) {
    SnapJournal *entry = NULL;
    g_autofree char *text = NULL;

    if (!snap_journal_next_orphan (cli->state, seen, &entry, &text, error))
      return NULL;
    if (entry == NULL)
      return g_steal_pointer (&ids);
    g_ptr_array_add (ids, g_strdup (snap_journal_set_id (entry)));
    snap_journal_abandon (entry);
  }
}
