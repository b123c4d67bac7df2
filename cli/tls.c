/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"

/* The name that goes with a key made here. */
#define CLIENT "nbdsnap"

#define KEY_SIZE 32

void
cli_tls_clear (CliTls *self)
{
  if (self->made != NULL)
    unlink (self->made);
  g_clear_pointer (&self->made, g_free);
}

/* ---- a key for once ---- */

static gboolean
write_key (int fd, const char *path, GError **error)
{
  guint8 key[KEY_SIZE];
  char line[sizeof CLIENT + 2 * KEY_SIZE + 2] = CLIENT ":";
  char *at = line + strlen (line);
  gboolean done;

  if (getrandom (key, sizeof key, 0) != sizeof key)
    return snap_error_set_errno (error, errno, "random numbers");
  for (guint i = 0; i < sizeof key; i++, at += 2)
    g_snprintf (at, 3, "%02x", key[i]);
  *at++ = '\n';
  done = write (fd, line, at - line) == at - line;
  if (!done)
    snap_error_set_errno (error, errno, "%s", path);
  explicit_bzero (key, sizeof key);
  explicit_bzero (line, sizeof line);
  return done;
}

/* In a directory that lives no longer than the session, or the machine's run;
   mkostemp gives the mode 0600. */
static gboolean
make_key (CliTls *self, GError **error)
{
  const char *directory = geteuid () == 0 ? "/run" : g_get_user_runtime_dir ();
  int fd;
  gboolean done;

  self->made = g_build_filename (directory, "nbdsnap-psk-XXXXXX", NULL);
  fd = g_mkstemp_full (self->made, O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {
    snap_error_set_errno (error, errno, "%s", self->made);
    g_clear_pointer (&self->made, g_free);
    return FALSE;
  }
  done = write_key (fd, self->made, error);
  close (fd);
  return done;
}

/* ---- the options ---- */

/* Who names keys wants them used. */
static gboolean
parse_policy (const CliTls *self, SnapNbdTls *tls, GError **error)
{
  gboolean has_keys = self->certificates != NULL || self->psk != NULL;
  const char *policy = self->policy;

  if (policy == NULL)
    policy = has_keys ? "require" : "off";
  if (g_str_equal (policy, "off"))
    *tls = SNAP_NBD_TLS_OFF;
  else if (g_str_equal (policy, "on"))
    *tls = SNAP_NBD_TLS_ON;
  else if (g_str_equal (policy, "require"))
    *tls = SNAP_NBD_TLS_REQUIRE;
  else
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "--tls=%s: neither off, on nor require", policy);
  if (*tls != SNAP_NBD_TLS_OFF && !has_keys)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "--tls=%s: needs --tls-certificates or --tls-psk",
                           policy);
  if (self->verify_peer && self->certificates == NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "--tls-verify-peer: needs --tls-certificates");
  return TRUE;
}

gboolean
cli_tls_apply (CliTls *self, SnapNbdServer *server, GError **error)
{
  SnapNbdTlsKeys keys = { .certificates = self->certificates,
                          .psk_file = self->psk,
                          .verify_peer = self->verify_peer };
  SnapNbdTls tls = SNAP_NBD_TLS_OFF;

  if (!parse_policy (self, &tls, error))
    return FALSE;
  if (tls == SNAP_NBD_TLS_OFF)
    return TRUE;
  if (g_strcmp0 (self->psk, "auto") == 0) {
    if (!make_key (self, error))
      return FALSE;
    keys.psk_file = self->made;
  }
  return snap_nbd_server_secure (server, tls, &keys, error);
}
