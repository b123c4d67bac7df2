/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot is made in two steps: an empty file of its final name, and the
 * clone of the data into it.  Until the set is complete the journal hides it.
 */
#include "config.h"

#include "snapshot-core/drivers/reflink/reflink.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "snapshot-core/drivers/native-name.h"
#include "snapshot-core/drivers/record.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-identity.h"
#include "snapshot-core/os/reflink.h"

typedef struct {
  SnapCut parent;
  char *native;
  int shelf_fd;
  int fd; /* of the clone */
} ReflinkCut;

/* ---- plan ---- */

static gboolean
check_storage (const ReflinkVolume *volume, GError **error)
{
  snap_autofd int shelf = -1;

  if (volume->fd < 0)
    return snap_error_set_errno (error, ENOENT, "%s", volume->parent.location);
  if (!snap_reflink_check (volume->directory_fd, error)) {
    g_prefix_error (error, "%s: ", volume->parent.location);
    return FALSE;
  }
  return reflink_shelf_open (&volume->reserved, volume->parent.label, &shelf,
                             error);
}

SnapCut *
reflink_plan (SnapVolume *volume, const char *name, const char *set_id,
              char **record, GError **error)
{
  const ReflinkVolume *self = (ReflinkVolume *) volume;
  g_autofree char *identity = NULL;
  ReflinkCut *cut;
  guint expected_ms;

  if (!check_storage (self, error)
      || !reflink_check_stall (self, &expected_ms, error))
    return NULL;
  identity = snap_file_identity (self->directory_fd, error);
  if (identity == NULL) {
    g_prefix_error (error, "%s: ", volume->location);
    return NULL;
  }
  cut = g_new0 (ReflinkCut, 1);
  cut->parent.volume = volume;
  cut->parent.expected_ms = expected_ms;
  cut->native = snap_native_name_format (name, set_id);
  cut->shelf_fd = cut->fd = -1;
  *record = snap_record_format (
      (const char *[]){ self->directory, volume->label, cut->native, set_id,
                        self->reserved_name, identity, NULL });
  return &cut->parent;
}

/* ---- prepare, cut, commit, abort ---- */

/* Nobody is to write to it.  Last, because attributes of a file can be set by
   those who may write to it. */
static gboolean
protect (int fd, const char *location, GError **error)
{
  return fchmod (fd, 0400) == 0
         || snap_error_set_errno (error, errno, "%s: fchmod", location);
}

gboolean
reflink_prepare (SnapCut *cut, GError **error)
{
  ReflinkCut *self = (ReflinkCut *) cut;
  const ReflinkVolume *volume = (ReflinkVolume *) cut->volume;

  self->shelf_fd = reflink_shelf_make (volume, error);
  if (self->shelf_fd < 0)
    return FALSE;
  self->fd = openat (self->shelf_fd, self->native,
                     O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (self->fd < 0)
    return snap_error_set_errno (error, errno, "%s: %s",
                                 volume->parent.location, self->native);
  if (!reflink_clone_set_origin (self->fd, volume->origin, error)) {
    g_prefix_error (error, "%s: ", volume->parent.location);
    return FALSE;
  }
  return protect (self->fd, volume->parent.location, error);
}

/* Points are sorted by time, and the kernel's clock for files is coarse. */
static void
stamp (int fd)
{
  struct timespec times[2];

  clock_gettime (CLOCK_REALTIME, &times[0]);
  times[1] = times[0];
  futimens (fd, times);
}

static gboolean
make_durable (const ReflinkCut *self, GError **error)
{
  if (fsync (self->fd) == 0 && fsync (self->shelf_fd) == 0)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s: %s: sync",
                               self->parent.volume->location, self->native);
}

gboolean
reflink_cut (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++) {
    const ReflinkCut *cut = (ReflinkCut *) cuts[i];
    const ReflinkVolume *volume = (ReflinkVolume *) cuts[i]->volume;

    if (!snap_reflink_clone (cut->fd, volume->fd, error)) {
      g_prefix_error (error, "%s: ", volume->parent.location);
      return FALSE;
    }
    stamp (cut->fd);
  }
  return TRUE;
}

gboolean
reflink_settle (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (!make_durable ((ReflinkCut *) cuts[i], error))
      return FALSE;
  return TRUE;
}

gboolean
reflink_commit (SnapCut *cut, GError **error)
{
  return TRUE;
}

static int
unlink_durably (int directory_fd, const char *name)
{
  int result = unlinkat (directory_fd, name, 0);

  return result == 0 ? fsync (directory_fd) : result;
}

/* Remove one clone, which may not be there, and its shelf if that is empty
   then. */
static gboolean
discard (const SnapReserved *at, const char *file, const char *native,
         GError **error)
{
  snap_autofd int shelf = -1;

  if (!reflink_shelf_open (at, file, &shelf, error))
    return FALSE;
  if (shelf >= 0 && unlink_durably (shelf, native) < 0 && errno != ENOENT)
    return snap_error_set_errno (error, errno, "%s/%s: %s", at->where, file,
                                 native);
  return reflink_shelf_discard (at, file, error);
}

gboolean
reflink_abort (SnapCut *cut, GError **error)
{
  const ReflinkCut *self = (ReflinkCut *) cut;
  const ReflinkVolume *volume = (ReflinkVolume *) cut->volume;

  return discard (&volume->reserved, volume->parent.label, self->native, error);
}

void
reflink_free_cut (SnapCut *cut)
{
  ReflinkCut *self = (ReflinkCut *) cut;

  snap_fd_clear (&self->fd);
  snap_fd_clear (&self->shelf_fd);
  g_free (self->native);
  g_free (self);
}

/* ---- recovery and deletion ---- */

/* In older ones the last word, the directory's identity, is missing. */
static char **
parse_record (const char *record, GError **error)
{
  char **words = snap_record_parse (record, 6, NULL);

  return words != NULL ? words : snap_record_parse (record, 5, error);
}

gboolean
reflink_recover (const char *record, SnapRecover action, GError **error)
{
  g_auto (GStrv) words = parse_record (record, error);
  g_autofree char *name = NULL;
  g_autofree char *set_id = NULL;
  snap_autofd int directory_fd = -1;

  if (words == NULL)
    return FALSE;
  if (!snap_native_name_parse (words[2], &name, &set_id)
      || !g_str_equal (set_id, words[3])
      || snap_reserved_name_fault (words[4]) != NULL)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "journal: %s is not a snapshot of set %s", words[2],
                           words[3]);
  if (action == SNAP_RECOVER_COMMIT)
    return TRUE;
  directory_fd = snap_directory_open_same (words[0], words[5], error);
  return directory_fd >= 0
         && discard (&(SnapReserved){ directory_fd, words[0], words[4] },
                     words[1], words[2], error);
}

gboolean
reflink_remove (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  const ReflinkVolume *self = (ReflinkVolume *) volume;
  snap_autofd int fd = -1;

  if (!point->ours)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s@%s: not made by nbdsnap, so not deleted",
                           volume->location, point->name);
  fd = reflink_point_open (self, point, error);
  return fd >= 0
         && discard (&self->reserved, volume->label, point->handle, error);
}

gboolean
reflink_sweep (SnapVolume *volume, GError **error)
{
  const ReflinkVolume *self = (ReflinkVolume *) volume;

  return reflink_shelf_discard (&self->reserved, volume->label, error);
}
