/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"

/* ---- another user ---- */

static const struct passwd *
look_up (const char *text)
{
  const struct passwd *found = getpwnam (text);
  guint64 number;

  if (found == NULL
      && g_ascii_string_to_unsigned (text, 10, 0, G_MAXINT32, &number, NULL))
    found = getpwuid (number);
  return found;
}

gboolean
cli_user_find (CliUser *self, const char *text, GError **error)
{
  const struct passwd *found = look_up (text);

  if (found == NULL)
    return snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no such user",
                           text);
  if (geteuid () != 0)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "%s: only root can become another user", text);
  self->name = g_strdup (found->pw_name);
  self->uid = found->pw_uid;
  self->gid = found->pw_gid;
  return TRUE;
}

gboolean
cli_user_become (const CliUser *self, GError **error)
{
  if (initgroups (self->name, self->gid) == 0
      && setresgid (self->gid, self->gid, self->gid) == 0
      && setresuid (self->uid, self->uid, self->uid) == 0)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s: become this user",
                               self->name);
}

/* ---- Landlock ---- */

/* What later kernels understand, and the headers at hand may not name. */
#define FS_TRUNCATE (1ULL << 14) /* version 3 */
#define NET_BIND_TCP (1ULL << 0) /* version 4 */
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_SIGNAL (1ULL << 1) /* version 6 */

#define FS_CHANGES                                                 \
  (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR   \
   | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR \
   | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG     \
   | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO   \
   | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

#define FS_FILES                                                  \
  (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE \
   | LANDLOCK_ACCESS_FS_MAKE_REG)

#define FS_SOCKET                                              \
  (LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR \
   | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE)

/* As the kernel has it by version 6; each version knows its beginning. */
typedef struct {
  guint64 fs, net, scoped;
} Handled;

/* In the order of their versions. */
static gsize
fill_handled (Handled *self, long version)
{
  *self = (Handled){ .fs = FS_CHANGES };
  if (version >= 2)
    self->fs |= LANDLOCK_ACCESS_FS_REFER;
  if (version >= 3)
    self->fs |= FS_TRUNCATE;
  if (version < 4)
    return G_STRUCT_OFFSET (Handled, net);
  self->net = NET_BIND_TCP | NET_CONNECT_TCP;
  if (version < 6)
    return G_STRUCT_OFFSET (Handled, scoped);
  self->scoped = SCOPE_SIGNAL;
  return sizeof *self;
}

static int
new_ruleset (GError **error)
{
  Handled handled;
  long version = syscall (SYS_landlock_create_ruleset, NULL, 0,
                          LANDLOCK_CREATE_RULESET_VERSION);
  int fd;

  if (version < 1) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "Landlock: this kernel does not offer it");
    return -1;
  }
  fd = syscall (SYS_landlock_create_ruleset, &handled,
                fill_handled (&handled, version), 0);
  if (fd < 0)
    snap_error_set_errno (error, errno, "Landlock");
  return fd;
}

static gboolean
allow (int ruleset, const char *path, guint64 access, GError **error)
{
  struct landlock_path_beneath_attr rule = { .allowed_access = access };
  gboolean done;

  rule.parent_fd = open (path, O_PATH | O_CLOEXEC);
  if (rule.parent_fd < 0)
    return snap_error_set_errno (error, errno, "%s", path);
  done = syscall (SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH,
                  &rule, 0)
         == 0;
  if (!done)
    snap_error_set_errno (error, errno, "%s: Landlock", path);
  close (rule.parent_fd);
  return done;
}

static gboolean
restrict_self (int ruleset, GError **error)
{
  if (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
      && syscall (SYS_landlock_restrict_self, ruleset, 0) == 0)
    return TRUE;
  return snap_error_set_errno (error, errno, "Landlock");
}

gboolean
cli_confine (const char *writable, GError **error)
{
  int ruleset = new_ruleset (error);
  gboolean done;

  if (ruleset < 0)
    return FALSE;
  done = allow (ruleset, "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE, error)
         && allow (ruleset, g_get_tmp_dir (), FS_SOCKET, error)
         && (writable == NULL || allow (ruleset, writable, FS_FILES, error))
         && restrict_self (ruleset, error);
  close (ruleset);
  return done;
}
