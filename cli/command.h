/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a verb is: a row in main.c's table, with one file of its own.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/exit-codes.h"
#include "cli/text.h"
#include "snapshot-core/service/registry.h"
#include "snapshot-core/service/state.h"

/* Accepted before and after the verb. */
typedef struct {
  char *state_dir;
  char *secret_file;
  char *snapshot_dir;
  gboolean json;
  gboolean bytes;
  gboolean quiet;
  gboolean progress;
  gboolean help;
  gboolean version;
} CliOptions;

/* One run of the program. */
typedef struct {
  const char *verb;
  CliOptions options;
  char **args; /* what is left after the verb and all options */
  guint n_args;
  CliExit exit_code; /* of a run without an error */
  gboolean force;    /* go on where it would take long */
  gboolean standing; /* a guest of an earlier run may still stand still */
  SnapOpenOptions guest_disks; /* what create says of a guest's disks */
  SnapRegistry *registry;
  SnapState *state;
} Cli;

typedef struct {
  const char *verb;
  const char *arguments;       /* as the usage line shows them */
  const char *summary;         /* one line */
  const char *help;            /* the end of --help: rules and examples */
  const GOptionEntry *options; /* the verb's own */

  /* Do it and print the outcome.  An error is returned, never printed. */
  gboolean (*run) (Cli *cli, GError **error);
} CliCommand;

extern const CliCommand cli_command_create;
extern const CliCommand cli_command_list;
extern const CliCommand cli_command_show;
extern const CliCommand cli_command_delete;
extern const CliCommand cli_command_serve;
extern const CliCommand cli_command_diff;
extern const CliCommand cli_command_drivers;
extern const CliCommand cli_command_doctor;
extern const CliCommand cli_command_activate;
extern const CliCommand cli_command_deactivate;
extern const CliCommand cli_command_thaw;
extern const CliCommand cli_command_ack;

/* Set USAGE, "VERB: FACT (try 'nbdsnap VERB --help')".  Returns FALSE. */
gboolean cli_usage (const Cli *cli, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* Refuse arguments where a verb takes none. */
gboolean cli_expect_no_arguments (const Cli *cli, GError **error);

/* How sizes are shown in this run. */
CliSizeStyle cli_size_style (const Cli *cli);

/* A size in this run's style; the caller frees. */
char *cli_format_size (const Cli *cli, guint64 bytes);

#endif
