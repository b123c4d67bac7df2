/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What systemd, or anything that speaks its way, gives to a service and wants
 * to be told: sockets that listen already, and when it is ready.
 *
 * See sd_listen_fds(3) and sd_notify(3).  Call from one thread, before others
 * or child processes are started: the environment is changed.
 */
#ifndef CLI_SERVICE_MANAGER_H
#define CLI_SERVICE_MANAGER_H

#include <glib.h>

typedef struct {
  int first; /* the sockets are [first, first + n_sockets) */
  guint n_sockets;
  char *notify; /* a socket's address, or NULL */
} CliServiceManager;

/* Take over what the environment names, so that no child does.  Errors: USAGE
   (it is malformed). */
gboolean cli_service_manager_init (CliServiceManager *self, GError **error);
void cli_service_manager_clear (CliServiceManager *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (CliServiceManager, cli_service_manager_clear)

/* Tell it "READY=1" or "STOPPING=1", if there is one. */
void cli_service_manager_tell (const CliServiceManager *self, const char *what);

#endif
