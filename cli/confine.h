/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Doing without what a server does not need: another user, and no changes to
 * any file system (Landlock).
 */
#ifndef CLI_CONFINE_H
#define CLI_CONFINE_H

#include <glib.h>
#include <sys/types.h>

typedef struct {
  char *name;
  uid_t uid;
  gid_t gid;
} CliUser;

/* Find a user by name or number.  The caller frees the name.  Errors:
   NOT_FOUND, USAGE (who calls may not become another). */
gboolean cli_user_find (CliUser *self, const char *text, GError **error);

/* Become the user, with all of its groups and no way back.  Before any thread
   is started.  Errors: IO. */
gboolean cli_user_become (const CliUser *self, GError **error);

/*
 * Have the kernel refuse, to this process and whatever it starts: changes to
 * file systems, TCP connections and ports, signals to others.  No way back.
 * What is open already stays of use.  Before any thread is started.
 *
 * Excepted are files in the directory @writable, unless that is NULL, and a
 * socket in the directory for temporary files.
 *
 * UNSUPPORTED: the kernel cannot.  Other errors: NOT_FOUND, IO.
 */
gboolean cli_confine (const char *writable, GError **error);

#endif
