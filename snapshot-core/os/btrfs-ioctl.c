/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/btrfs-ioctl.h"

#include <errno.h>
#include <linux/btrfs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "snapshot-core/base/error.h"

static void
fill_key (struct btrfs_ioctl_search_key *key, const SnapBtrfsTreeSearch *search)
{
  key->tree_id = 0; /* the one that the file lies in */
  key->min_objectid = key->max_objectid = search->object_id;
  key->min_type = key->max_type = search->type;
  key->min_offset = search->first_offset;
  key->max_offset = search->last_offset;
  key->min_transid = search->min_generation;
  key->max_transid = G_MAXUINT64;
  key->nr_items = search->n_max;
}

G_STATIC_ASSERT (sizeof (struct btrfs_ioctl_search_args_v2)
                 == SNAP_BTRFS_REQUEST);

/* The kernel wants the result right behind the request. */
gboolean
snap_btrfs_search (int fd, const SnapBtrfsTreeSearch *search, guint8 *buffer,
                   gsize length, SnapBytes *found, guint32 *n_found,
                   GError **error)
{
  struct btrfs_ioctl_search_args_v2 *request = (gpointer) buffer;

  g_return_val_if_fail (length >= sizeof *request, FALSE);
  memset (request, 0, sizeof *request);
  fill_key (&request->key, search);
  request->buf_size = length - sizeof *request;
  if (ioctl (fd, BTRFS_IOC_TREE_SEARCH_V2, request) < 0) {
    if (errno == EPERM)
      return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                             "searching a btrfs tree needs CAP_SYS_ADMIN");
    return snap_error_set_errno (error, errno, "tree search");
  }
  *n_found = request->key.nr_items;
  *found = (SnapBytes){ .at = buffer + sizeof *request,
                        .left = length - sizeof *request };
  return TRUE;
}

gboolean
snap_btrfs_may_search (int fd)
{
  const SnapBtrfsTreeSearch nothing = { .n_max = 1 };
  SNAP_BTRFS_BUFFER (buffer, 64);
  guint32 n_found;
  SnapBytes found;

  return snap_btrfs_search (fd, &nothing, buffer, sizeof buffer, &found,
                            &n_found, NULL);
}

gboolean
snap_btrfs_sector_size (int fd, guint64 *size, GError **error)
{
  struct btrfs_ioctl_fs_info_args info = { 0 };

  if (ioctl (fd, BTRFS_IOC_FS_INFO, &info) < 0)
    return snap_error_set_errno (error, errno, "file system information");
  *size = MAX (info.sectorsize, 1);
  return TRUE;
}
