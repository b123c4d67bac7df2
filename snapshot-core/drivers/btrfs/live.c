/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/beneath.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/reserved-directory.h"

/* Temporary snapshots are ".live-" and as many hex digits. */
#define LIVE_PREFIX ".live-"
#define LIVE_DIGITS 16

/* ---- tidying up ---- */

static gboolean
is_live_name (const char *name)
{
  const char *digits = name + strlen (LIVE_PREFIX);

  return g_str_has_prefix (name, LIVE_PREFIX) && strlen (digits) == LIVE_DIGITS
         && strspn (digits, "0123456789abcdef") == LIVE_DIGITS;
}

static gboolean
tidy_live (const BtrfsVolume *volume, int reserved_fd, const char *name,
           GError **error)
{
  SnapBtrfsSubvolume subvolume;
  snap_autofd int fd =
      btrfs_snapshot_open (volume, reserved_fd, name, &subvolume);

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

  if (is_live_name (name))
    return tidy_live (volume, reserved_fd, name, error);
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
      g_prefix_error (error, "%s/%s: ", volume->top, SNAP_RESERVED_NAME);
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

gboolean
btrfs_live_open (const BtrfsVolume *volume, BtrfsSide *side, GError **error)
{
  snap_autofd int reserved = -1;
  snap_autofd int lock = btrfs_reserved_enter (volume, &reserved, error);
  gboolean opened;

  side->fd = -1;
  if (lock < 0 || !btrfs_tidy (volume, reserved, error))
    return FALSE;
  opened = make_and_open (volume, reserved, side, error);
  if (!opened)
    g_prefix_error (error, "%s@live: ", volume->parent.location);
  unlinkat (volume->top_fd, SNAP_RESERVED_NAME, AT_REMOVEDIR);
  return opened;
}
