/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The running guest that a command line names, and its disks.
 */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include "cli/command.h"
#include "snapshot-core/service/guest.h"

/* As options put them there; strings of the process. */
typedef struct {
  char *monitor;
  char *domain; /* of libvirt; neither it nor a monitor: there is no guest */
  char *connect;
  char *agent;
  char **disks; /* NULL: all that can be written to */
  char *quiesce;
  char *mechanism;
  char *scratch_dir;
  char *consumer;
} CliGuestOptions;

gboolean cli_guest_is_named (const CliGuestOptions *options);

/* Refuse what makes no sense together, and tell @cli what goes with the
   guest's disks.  USAGE. */
gboolean cli_guest_check (Cli *cli, const CliGuestOptions *options,
                          GError **error);

/* How the guest is wanted to be kept quiet; after the check. */
SnapQuiesce cli_guest_wanted (const CliGuestOptions *options);

/* *guest is NULL if none is named. */
gboolean cli_guest_open (const CliGuestOptions *options, SnapGuest **guest,
                         GError **error);

/* Open its disks for snapshots and add them to @volumes, claimed. */
gboolean cli_guest_open_disks (Cli *cli, const CliGuestOptions *options,
                               SnapGuest *guest, GPtrArray *volumes,
                               GError **error);

/* "frozen by its agent for 210.312 ms, stopped for 12.004 ms"; the caller
   frees. */
char *cli_quiet_format (SnapQuiesce quiesce, guint64 stopped_us,
                        guint64 frozen_us);

#endif
