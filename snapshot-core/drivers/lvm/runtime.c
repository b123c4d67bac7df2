/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What running processes tell each other: lock files, each with a note of what
 * its holders have to undo.  The lock ends with its holder, the note stays, so
 * that what a killed process has left is found and undone.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/lock-file.h"

#define LOCK_WAIT_MS 60000
#define LOCK_LOOK_MS 20

#define MAX_NOTE 512

static gboolean
make_directory (GError **error)
{
  if (mkdir (LVM_RUNTIME_DIR, 0700) == 0 || errno == EEXIST)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s", LVM_RUNTIME_DIR);
}

char *
lvm_runtime_path (const char *kind, const char *id)
{
  return g_strconcat (LVM_RUNTIME_DIR "/", kind, id, NULL);
}

int
lvm_runtime_try_lock (const char *path, GError **error)
{
  return make_directory (error)
             ? snap_lock_file_take (path, SNAP_LOCK_EXCLUSIVE, error)
             : -1;
}

int
lvm_runtime_lock (const char *path, gboolean shared, gboolean *alone,
                  GError **error)
{
  SnapDeadline deadline = snap_deadline_in (LOCK_WAIT_MS);

  if (!make_directory (error))
    return -1;
  for (;;) {
    GError *reason = NULL;
    int fd = snap_lock_file_take (path, SNAP_LOCK_EXCLUSIVE, &reason);

    *alone = fd >= 0;
    if (shared && g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)) {
      g_clear_error (&reason);
      fd = snap_lock_file_take (path, SNAP_LOCK_SHARED, &reason);
    }
    if (fd >= 0)
      return fd;
    if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)
        || snap_deadline_left_ms (deadline) == 0) {
      g_propagate_error (error, reason);
      return -1;
    }
    g_error_free (reason);
    g_usleep (LOCK_LOOK_MS * 1000);
  }
}

/* ---- notes ---- */

char *
lvm_runtime_note (int fd)
{
  char note[MAX_NOTE];
  gssize n = pread (fd, note, sizeof note, 0);

  return g_strndup (note, MAX (n, 0));
}

/* In one piece, so that one who is killed leaves the old note or the new. */
gboolean
lvm_runtime_set_note (int fd, const char *path, const char *note,
                      GError **error)
{
  char whole[MAX_NOTE] = "";

  g_strlcpy (whole, note, sizeof whole);
  if (pwrite (fd, whole, sizeof whole, 0) == sizeof whole)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s", path);
}

/* ---- what killed processes have left ---- */

static gboolean
tidy_file (const char *name, guint *n_undone, GError **error)
{
  g_autofree char *path = g_build_filename (LVM_RUNTIME_DIR, name, NULL);
  gboolean (*undo) (const char *, int, guint *, GError **) = NULL;
  g_autoptr (GError) reason = NULL;
  snap_autofd int fd = -1;

  if (g_str_has_prefix (name, LVM_ACTIVE))
    undo = lvm_activation_undo;
  if (g_str_has_prefix (name, LVM_RESERVED))
    undo = lvm_metadata_undo;
  if (undo == NULL)
    return TRUE;
  fd = snap_lock_file_take (path, SNAP_LOCK_EXCLUSIVE, &reason);
  if (g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY))
    return TRUE;
  if (fd < 0) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  if (!undo (path, fd, n_undone, error))
    return FALSE;
  unlink (path);
  return TRUE;
}

gboolean
lvm_tidy (guint *n_undone, GError **error)
{
  g_autoptr (GDir) directory = g_dir_open (LVM_RUNTIME_DIR, 0, NULL);
  const char *name;
  GError *first = NULL;

  /* Not there, or not for us to see: then nothing was done by our like. */
  if (directory == NULL)
    return TRUE;
  while ((name = g_dir_read_name (directory)) != NULL)
    tidy_file (name, n_undone, first == NULL ? &first : NULL);
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, first);
  return FALSE;
}
