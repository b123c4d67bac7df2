/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/beneath.h"
#include "snapshot-core/os/btrfs-ioctl.h"
#include "snapshot-core/os/fd.h"

/* Temporary snapshots are ".live-" and as many hex digits. */
#define LIVE_PREFIX ".live-"
#define N_DIGITS 16

/* ---- tidying up ---- */

static gboolean
has_prefix (const char *name, const char *prefix)
{
  const char *digits = name + strlen (prefix);

  return g_str_has_prefix (name, prefix) && strlen (digits) == N_DIGITS
         && strspn (digits, "0123456789abcdef") == N_DIGITS;
}

static gboolean
is_temporary_name (const char *name)
{
  return has_prefix (name, LIVE_PREFIX)
         || has_prefix (name, SNAP_BTRFS_GONE_PREFIX);
}

static gboolean
tidy_temporary (const BtrfsVolume *volume, int reserved_fd, const char *name,
                GError **error)
{
  SnapBtrfsSubvolume subvolume;
  snap_autofd int fd = btrfs_copy_open (volume, reserved_fd, name, &subvolume);

  return fd < 0 || snap_btrfs_delete (reserved_fd, name, error);
}

/* The set that a member file belongs to is made and removed under the lock
   that we hold: without its snapshot it is a leftover. */
static gboolean
tidy_member (int reserved_fd, const char *name, const char *native,
             GError **error)
{
  if (faccessat (reserved_fd, native, F_OK, AT_SYMLINK_NOFOLLOW) == 0
      || errno != ENOENT || unlinkat (reserved_fd, name, 0) == 0)
    return TRUE;
  return snap_error_set_errno (error, errno, "%s", name);
}

static gboolean
tidy_entry (const BtrfsVolume *volume, int reserved_fd, const char *name,
            GError **error)
{
  g_autofree char *native = btrfs_member_parse (name);

  if (is_temporary_name (name))
    return tidy_temporary (volume, reserved_fd, name, error);
  return native == NULL || tidy_member (reserved_fd, name, native, error);
}

gboolean
btrfs_tidy (const BtrfsVolume *volume, int reserved_fd, GError **error)
{
  g_autoptr (GPtrArray) names =
      snap_directory_list (reserved_fd, volume->top, error);

  if (names == NULL)
    return FALSE;
  for (guint i = 0; i < names->len; i++)
    if (!tidy_entry (volume, reserved_fd, names->pdata[i], error)) {
      g_prefix_error (error, "%s/%s: ", volume->top, volume->reserved_name);
      return FALSE;
    }
  return TRUE;
}

/* ---- the live side ---- */

/* Open the file in a snapshot that was just made. */
static gboolean
open_in (const BtrfsVolume *volume, int reserved_fd, const char *name,
         BtrfsSide *side, GError **error)
{
  snap_autofd int top =
      btrfs_snapshot_open (volume, reserved_fd, name, &side->subvolume);

  if (top >= 0)
    side->fd = snap_open_beneath (top, volume->path);
  return side->fd >= 0
         || snap_error_set_errno (error, errno, "%s", volume->parent.location);
}

static gboolean
make_and_open (const BtrfsVolume *volume, int reserved_fd, BtrfsSide *side,
               GError **error)
{
  g_autofree char *name = g_strdup_printf (LIVE_PREFIX "%08x%08x",
                                           g_random_int (), g_random_int ());
  gboolean opened;

  if (!snap_btrfs_snapshot (volume->top_fd, reserved_fd, name, error))
    return FALSE;
  opened = open_in (volume, reserved_fd, name, side, error);
  return snap_btrfs_delete (reserved_fd, name, opened ? error : NULL) && opened;
}

/* It must not be made by somebody who may not delete it. */
static gboolean
check_privilege (const BtrfsVolume *volume, GError **error)
{
  return snap_btrfs_may_search (volume->fd)
         || snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                            "%s@live: a temporary snapshot needs CAP_SYS_ADMIN",
                            volume->parent.location);
}

gboolean
btrfs_live_open (const BtrfsVolume *volume, BtrfsSide *side, GError **error)
{
  snap_autofd int reserved = -1;
  snap_autofd int lock = -1;
  gboolean opened;

  side->fd = -1;
  if (!check_privilege (volume, error))
    return FALSE;
  lock = btrfs_reserved_enter (volume, &reserved, error);
  if (lock < 0 || !btrfs_tidy (volume, reserved, error))
    return FALSE;
  opened = make_and_open (volume, reserved, side, error);
  if (!opened)
    g_prefix_error (error, "%s@live: ", volume->parent.location);
  unlinkat (volume->top_fd, volume->reserved_name, AT_REMOVEDIR);
  return opened;
}
