/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nbdsnap: a table of verbs.  Options, dispatch, and the one place where an
 * error is printed.
 */
#include "config.h"

#include <gio/gio.h>
#include <locale.h>
#include <signal.h>
#include <string.h>

#include "cli/command.h"
#include "cli/exit-codes.h"
#include "cli/output.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/service/volume.h"

static const CliCommand *const commands[] = {
  &cli_command_create, &cli_command_list,     &cli_command_show,
  &cli_command_delete, &cli_command_diff,     &cli_command_drivers,
  &cli_command_doctor, &cli_command_activate, &cli_command_deactivate,
  &cli_command_serve,  &cli_command_ack,      &cli_command_thaw,
};

/* ---- the command line ---- */

static const CliCommand *
find_command (const char *verb)
{
  for (gsize i = 0; i < G_N_ELEMENTS (commands); i++)
    if (g_str_equal (commands[i]->verb, verb))
      return commands[i];
  return NULL;
}

/* Accepted before and after the verb, into the same place. */
static GOptionContext *
new_context (const char *parameters, const GOptionEntry *own,
             CliOptions *options)
{
  const GOptionEntry global[] = {
    { "state-dir", 0, 0, G_OPTION_ARG_FILENAME, &options->state_dir,
      "Where manifests, the journal and holds are kept", "DIR" },
    { "secret", 0, 0, G_OPTION_ARG_FILENAME, &options->secret_file,
      "The file with the key of encrypted images", "FILE" },
    { "snapshot-dir", 0, 0, G_OPTION_ARG_FILENAME, &options->snapshot_dir,
      "Name of the directory for snapshots of files (default: .nbdsnap)",
      "NAME" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &options->json, "Print one JSON object",
      NULL },
    { "bytes", 0, 0, G_OPTION_ARG_NONE, &options->bytes,
      "Print sizes as plain numbers of bytes", NULL },
    { "quiet", 'q', 0, G_OPTION_ARG_NONE, &options->quiet,
      "Print no more than the result", NULL },
    { "progress", 0, 0, G_OPTION_ARG_NONE, &options->progress,
      "Show progress on standard error also without a terminal", NULL },
    { "help", 'h', 0, G_OPTION_ARG_NONE, &options->help, "Print this help",
      NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &options->version,
      "Print the version", NULL },
    G_OPTION_ENTRY_NULL
  };
  GOptionContext *context = g_option_context_new (parameters);

  g_option_context_set_help_enabled (context, FALSE);
  if (own != NULL)
    g_option_context_add_main_entries (context, own, NULL);
  g_option_context_add_main_entries (context, global, NULL);
  return context;
}

/* ---- help ---- */

static char *
describe_verbs (void)
{
  GString *text = g_string_new ("Snapshots of volumes, and what changed "
                                "between them.\n\nVerbs:\n");

  for (gsize i = 0; i < G_N_ELEMENTS (commands); i++)
    g_string_append_printf (text, "  %-10s %s\n", commands[i]->verb,
                            commands[i]->summary);
  g_string_append (text, "  help       The same as --help, of a verb if one "
                         "is named");
  return g_string_free (text, FALSE);
}

static gboolean
print_general_help (CliOptions *options, GError **error)
{
  g_autoptr (GOptionContext) context =
      new_context ("VERB [ARGUMENT…]", NULL, options);
  g_autofree char *verbs = describe_verbs ();
  g_autofree char *help = NULL;

  g_option_context_set_summary (context, verbs);
  g_option_context_set_description (
      context, "More in `nbdsnap VERB --help` and in nbdsnap(1).\n");
  help = g_option_context_get_help (context, TRUE, NULL);
  return cli_print (error, "%s", help);
}

static gboolean
print_verb_help (const CliCommand *command, CliOptions *options, GError **error)
{
  g_autoptr (GOptionContext) context =
      new_context (command->arguments, command->options, options);
  g_autofree char *name = g_strdup_printf ("nbdsnap %s", command->verb);
  g_autofree char *end = g_strdup_printf (
      "%s\n\nMore in nbdsnap-%s(1); exit codes in nbdsnap(1).\n", command->help,
      command->verb);
  g_autofree char *help = NULL;

  g_set_prgname (name);
  g_option_context_set_summary (context, command->summary);
  g_option_context_set_description (context, end);
  help = g_option_context_get_help (context, TRUE, NULL);
  return cli_print (error, "%s", help);
}

static gboolean
unknown_verb (const char *verb, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         "%s: no such verb (try 'nbdsnap --help')", verb);
}

/* ---- running ---- */

/* GLib's parser leaves a "--" that something like an option follows. */
static void
drop_separator (char **args)
{
  while (*args != NULL && !g_str_equal (*args, "--"))
    args++;
  if (*args == NULL)
    return;
  g_free (*args);
  memmove (args, args + 1, (g_strv_length (args + 1) + 1) * sizeof *args);
}

/* GLib's parser starts its messages with a capital and names no object.
   @verb is NULL before there is one. */
static gboolean
parse_options (GOptionContext *context, const char *verb, char ***args,
               GError **error)
{
  g_autoptr (GError) reason = NULL;

  if (g_option_context_parse_strv (context, args, &reason))
    return TRUE;
  return snap_error_set (
      error, SNAP_ERROR_USAGE, "%s: %c%s (try 'nbdsnap %s%s--help')",
      verb != NULL ? verb : "command line",
      g_ascii_tolower (reason->message[0]), reason->message + 1,
      verb != NULL ? verb : "", verb != NULL ? " " : "");
}

/* Parse what stands before the verb; the verb becomes (*args)[1]. */
static gboolean
parse_global (char ***args, CliOptions *options, GError **error)
{
  g_autoptr (GOptionContext) context = new_context (NULL, NULL, options);

  g_option_context_set_strict_posix (context, TRUE);
  if (!parse_options (context, NULL, args, error))
    return FALSE;
  if (g_strcmp0 ((*args)[1], "--") == 0)
    drop_separator (*args + 1);
  return TRUE;
}

/* A variable of a script that is not set: "" would be the working directory. */
static gboolean
check_state_dir (const CliOptions *options, GError **error)
{
  return options->state_dir == NULL || *options->state_dir != '\0'
         || snap_error_set (error, SNAP_ERROR_USAGE,
                            "--state-dir: empty value");
}

static gboolean
run_command (const CliCommand *command, CliOptions *options, char ***args,
             CliExit *exit_code, GError **error)
{
  g_autoptr (GOptionContext) context =
      new_context (command->arguments, command->options, options);
  g_autoptr (SnapRegistry) registry = NULL;
  g_autoptr (SnapState) state = NULL;
  Cli cli = { .verb = command->verb };
  gboolean done;

  if (!parse_options (context, command->verb, args, error))
    return FALSE;
  drop_separator (*args + 1);
  if (options->help)
    return print_verb_help (command, options, error);
  if (options->version)
    return cli_print (error, "nbdsnap %s\n", PACKAGE_VERSION);
  if (!check_state_dir (options, error)
      || !snap_snapshot_dir_check (options->snapshot_dir, error))
    return FALSE;

  registry = snap_registry_new ();
  state = snap_state_new (options->state_dir);
  cli.options = *options;
  cli.args = *args + 1;
  cli.n_args = g_strv_length (cli.args);
  cli.registry = registry;
  cli.state = state;
  done = command->run (&cli, error);
  *exit_code = cli.standing ? CLI_EXIT_FROZEN : cli.exit_code;
  return done;
}

/* `nbdsnap help [VERB]` */
static gboolean
run_help (CliOptions *options, char ***args, GError **error)
{
  g_autoptr (GOptionContext) context = new_context (NULL, NULL, options);
  const CliCommand *command;

  if (!parse_options (context, "help", args, error))
    return FALSE;
  drop_separator (*args + 1);
  if ((*args)[1] == NULL || g_str_equal ((*args)[1], "help"))
    return print_general_help (options, error);
  if ((*args)[2] != NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "help: %s: takes one verb (try 'nbdsnap --help')",
                           (*args)[2]);
  command = find_command ((*args)[1]);
  return command != NULL ? print_verb_help (command, options, error)
                         : unknown_verb ((*args)[1], error);
}

/* Take the verb out of (*args)[1]. */
static char *
take_verb (char **args)
{
  char *verb = args[1];

  memmove (&args[1], &args[2], g_strv_length (&args[1]) * sizeof args[0]);
  return verb;
}

static gboolean
dispatch (char ***args, CliOptions *options, CliExit *exit_code, GError **error)
{
  g_autofree char *verb = NULL;
  const CliCommand *command;

  if (!parse_global (args, options, error))
    return FALSE;
  if (options->version)
    return cli_print (error, "nbdsnap %s\n", PACKAGE_VERSION);
  if ((*args)[1] == NULL && options->help)
    return print_general_help (options, error);
  if ((*args)[1] == NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "command line: no verb (try 'nbdsnap --help')");

  verb = take_verb (*args);
  if (g_str_equal (verb, "help"))
    return run_help (options, args, error);
  command = find_command (verb);
  if (command == NULL)
    return unknown_verb (verb, error);
  return run_command (command, options, args, exit_code, error);
}

/* Say what is wrong, unless it is that nobody reads any more. */
static CliExit
report (const GError *error)
{
  if (!g_error_matches (error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE))
    cli_say ("%s", error->message);
  return cli_exit_code (error);
}

int
main (int argc, char **argv)
{
  g_auto (GStrv) args = g_strdupv (argv);
  g_autoptr (GError) error = NULL;
  CliOptions options = { 0 };
  CliExit exit_code = CLI_EXIT_OK;

  setlocale (LC_CTYPE, "");
  setlocale (LC_MESSAGES, "");
  signal (SIGPIPE, SIG_IGN);
  g_set_prgname ("nbdsnap");
  cli_output_init ();

  if (!dispatch (&args, &options, &exit_code, &error)
      || !cli_output_flush (&error))
    exit_code = report (error);
  g_free (options.state_dir);
  g_free (options.secret_file);
  g_free (options.snapshot_dir);
  return exit_code;
}
