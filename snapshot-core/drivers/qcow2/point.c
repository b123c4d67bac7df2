/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/qcow2/qcow2.h"

/* QEMU re-uses ids after a deletion, but not together with the time. */
static char *
format_identity (const SnapQcow2Snapshot *snapshot)
{
  return g_strdup_printf ("%s/%u.%09u", snapshot->id, snapshot->date_sec,
                          snapshot->date_nsec);
}

SnapPoint *
qcow2_point_new (const SnapQcow2Snapshot *snapshot)
{
  g_autofree char *name = NULL;
  g_autofree char *set_id = NULL;
  gboolean ours = qcow2_name_parse (snapshot->name, &name, &set_id);
  SnapPoint *point =
      snap_point_new (SNAP_POINT_SNAPSHOT, ours ? name : snapshot->name);

  point->ours = ours;
  point->set_id = g_steal_pointer (&set_id);
  point->id = format_identity (snapshot);
  point->handle = g_strdup (snapshot->name);
  point->size = snapshot->size;
  point->time_us =
      (gint64) snapshot->date_sec * G_USEC_PER_SEC + snapshot->date_nsec / 1000;
  return point;
}

const SnapQcow2Snapshot *
qcow2_point_find (const Qcow2Volume *volume, const SnapPoint *point,
                  GPtrArray **snapshots, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (volume);
  g_autoptr (GPtrArray) all =
      snap_qcow2_snapshots_read (file->reader, file->header, error);

  for (guint i = 0; all != NULL && i < all->len; i++) {
    const SnapQcow2Snapshot *snapshot = g_ptr_array_index (all, i);
    g_autofree char *identity = format_identity (snapshot);

    if (g_str_equal (identity, point->id)
        && g_strcmp0 (snapshot->name, point->handle) == 0) {
      *snapshots = g_steal_pointer (&all);
      return snapshot;
    }
  }
  if (all != NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                    "%s@%s: the image no longer holds snapshot %s", file->path,
                    point->name, point->id);
  return NULL;
}

SnapQcow2Layer *
qcow2_point_layer (const Qcow2Volume *volume, const SnapPoint *point,
                   GError **error)
{
  const Qcow2File *file = qcow2_volume_file (volume);
  const SnapQcow2Header *header = file->header;
  g_autoptr (GPtrArray) snapshots = NULL;
  const SnapQcow2Snapshot *snapshot;
  SnapQcow2Layer *layer;

  if (point->kind == SNAP_POINT_LIVE) {
    layer = snap_qcow2_layer_open (file->reader, header, header->l1_offset,
                                   header->l1_size, header->size, error);
  }
  else {
    snapshot = qcow2_point_find (volume, point, &snapshots, error);
    if (snapshot == NULL)
      return NULL;
    layer = snap_qcow2_layer_open (file->reader, header, snapshot->l1_offset,
                                   snapshot->l1_size, snapshot->size, error);
  }
  if (layer == NULL)
    g_prefix_error (error, "%s@%s: ", file->path, point->name);
  return layer;
}
