/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include <sys/stat.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/path.h"

/* ---- the volume ---- */

void
qemu_volume_free (QemuVolume *self)
{
  g_free (self->parent.location);
  g_free (self->parent.part);
  g_free (self->parent.id);
  g_free (self->parent.label);
  g_free (self->socket);
  g_free (self->device);
  g_free (self->tag);
  g_free (self->mechanism);
  g_free (self->scratch_dir);
  g_free (self->consumer);
  g_free (self);
}

static void
qemu_close (SnapVolume *volume)
{
  qemu_volume_free ((QemuVolume *) volume);
}

static void
set_device (QemuVolume *self, const char *device)
{
  self->device = g_strdup (device);
  self->tag = qemu_device_tag (device);
  self->parent.label = g_strdup (device);
  self->parent.id = g_strdup_printf ("%s#%s", self->socket, device);
}

QemuVolume *
qemu_volume_new (const char *socket, const char *device)
{
  QemuVolume *self = g_new0 (QemuVolume, 1);

  self->parent.driver = &snap_driver_qemu;
  self->parent.location = g_strdup (socket);
  self->parent.part = g_strdup (device);
  self->socket = g_strdup (socket);
  set_device (self, device);
  return self;
}

static char *
list_devices (const GPtrArray *disks)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < disks->len; i++) {
    const QmpDisk *disk = g_ptr_array_index (disks, i);

    g_string_append_printf (text, "%s#%s", text->len > 0 ? ", " : "",
                            disk->device);
  }
  return g_string_free (text, FALSE);
}

/* A disk that was unplugged is a volume for as long as there is something of
   ours to be deleted. */
static gboolean
has_leftovers (const QemuView *view, const char *device)
{
  g_autofree char *device_tag = qemu_device_tag (device);
  GHashTableIter nodes;
  gpointer name;

  g_hash_table_iter_init (&nodes, view->nodes);
  while (g_hash_table_iter_next (&nodes, &name, NULL)) {
    g_autofree char *tag = NULL;

    if (qemu_part_parse (name, QEMU_MARKS, NULL, &tag)
        && g_str_equal (tag, device_tag))
      return TRUE;
  }
  return FALSE;
}

/* The disk that @part names, or the only one. */
static const QmpDisk *
choose_disk (const QemuVolume *self, GPtrArray *disks, const char *part,
             GError **error)
{
  const QmpDisk *disk = part != NULL ? qmp_disks_find (disks, part) : NULL;
  g_autofree char *devices = NULL;

  if (disk != NULL)
    return disk;
  if (part == NULL && disks->len == 1)
    return g_ptr_array_index (disks, 0);
  devices = list_devices (disks);
  if (disks->len == 0)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: the guest has no disk",
                    self->socket);
  else if (part != NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                    "%s#%s: the guest has no such disk, but %s", self->socket,
                    part, devices);
  else
    snap_error_set (error, SNAP_ERROR_USAGE,
                    "%s: the guest has several disks: %s", self->socket,
                    devices);
  return NULL;
}

static gboolean
find_device (QemuVolume *self, const char *part, GError **error)
{
  g_autoptr (QemuSession) session = qemu_session_open (self->socket, error);
  g_autoptr (QemuView) view =
      session != NULL ? qemu_view_new (session, error) : NULL;
  const QmpDisk *disk;

  if (view == NULL)
    return FALSE;
  if (part != NULL && qmp_disks_find (view->disks, part) == NULL
      && has_leftovers (view, part)) {
    set_device (self, part);
    return TRUE;
  }
  disk = choose_disk (self, view->disks, part, error);
  if (disk == NULL)
    return FALSE;
  set_device (self, disk->device);
  return TRUE;
}

static SnapVolume *
qemu_open (const char *location, const char *part,
           const SnapOpenOptions *options, GError **error)
{
  g_autoptr (QemuVolume) self = g_new0 (QemuVolume, 1);

  self->parent.driver = &snap_driver_qemu;
  self->parent.location = g_strdup (location);
  self->parent.part = g_strdup (part);
  self->socket = snap_path_absolute (location);
  self->mechanism = g_strdup (options->mechanism);
  self->scratch_dir = g_strdup (options->scratch_dir);
  self->consumer = g_strdup (options->consumer);
  self->quiesce = options->quiesce;
  self->force = options->force;
  if (!find_device (self, part, error))
    return NULL;
  return &g_steal_pointer (&self)->parent;
}

/* Who listens on a socket is known only when it has spoken. */
static int
qemu_probe (const char *location)
{
  struct stat st;

  return stat (location, &st) == 0 && S_ISSOCK (st.st_mode) ? 50 : 0;
}

static char *
qemu_monitor (SnapVolume *volume)
{
  return g_strdup (((QemuVolume *) volume)->socket);
}

/* ---- points ---- */

static gboolean
has_data (const QemuView *view, const char *tag, const char *set_id)
{
  static const QemuPart parts[] = { QEMU_ACCESS, QEMU_COPIER, QEMU_FLEECER };
  g_autofree char *marks = qemu_part_name (set_id, tag, QEMU_MARKS);

  if (!qemu_view_has_node (view, marks))
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (parts); i++) {
    g_autofree char *node = qemu_part_name (set_id, tag, parts[i]);

    if (qemu_view_has_node (view, node))
      return TRUE;
  }
  return FALSE;
}

static SnapPoint *
point_new (const QemuView *view, const QemuVolume *volume, const char *native)
{
  g_autoptr (QemuBitmapName) name = qemu_bitmap_name_parse (native);
  SnapPoint *point;

  if (name == NULL)
    return NULL;
  point = snap_point_new (has_data (view, volume->tag, name->set_id)
                              ? SNAP_POINT_SNAPSHOT
                              : SNAP_POINT_CHECKPOINT,
                          name->name);
  point->id = g_strdup_printf ("%s/%" G_GINT64_MODIFIER "x", name->set_id,
                               (guint64) name->time_us);
  point->handle = g_strdup (native);
  point->set_id = g_strdup (name->set_id);
  point->ours = TRUE;
  point->size = name->size;
  point->time_us = name->time_us;
  point->no_image = point->kind == SNAP_POINT_CHECKPOINT;
  return point;
}

static gint
compare_times (gconstpointer a, gconstpointer b)
{
  const SnapPoint *first = *(SnapPoint *const *) a;
  const SnapPoint *second = *(SnapPoint *const *) b;

  return (first->time_us > second->time_us)
         - (first->time_us < second->time_us);
}

static gboolean
is_listed (const GPtrArray *points, const char *set_id)
{
  for (guint i = 0; i < points->len; i++) {
    const SnapPoint *point = g_ptr_array_index (points, i);

    if (g_str_equal (point->set_id, set_id))
      return TRUE;
  }
  return FALSE;
}

static SnapPoint *
nameless_new (char *set_id)
{
  SnapPoint *point = snap_point_new (SNAP_POINT_CHECKPOINT, set_id);

  point->id = g_strconcat (set_id, "/0", NULL);
  point->set_id = set_id;
  point->ours = TRUE;
  point->no_image = TRUE;
  return point;
}

/* Cuts whose bitmap is on the disk no more: the disk was unplugged, or is
   another one now.  Nothing can be done with them but to delete them. */
static void
add_nameless (const QemuView *view, const QemuVolume *volume, GPtrArray *points)
{
  GHashTableIter nodes;
  gpointer name;

  g_hash_table_iter_init (&nodes, view->nodes);
  while (g_hash_table_iter_next (&nodes, &name, NULL)) {
    g_autofree char *set_id = NULL;
    g_autofree char *tag = NULL;

    if (qemu_part_parse (name, QEMU_MARKS, &set_id, &tag)
        && g_str_equal (tag, volume->tag) && !is_listed (points, set_id))
      g_ptr_array_add (points, nameless_new (g_steal_pointer (&set_id)));
  }
}

GPtrArray *
qemu_points (const QemuView *view, const QemuVolume *volume)
{
  const QmpDisk *disk = qmp_disks_find (view->disks, volume->device);
  GPtrArray *points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);

  for (guint i = 0; disk != NULL && i < disk->bitmaps->len; i++) {
    const QmpBitmap *bitmap = g_ptr_array_index (disk->bitmaps, i);
    SnapPoint *point = point_new (view, volume, bitmap->name);

    if (point != NULL)
      g_ptr_array_add (points, point);
  }
  add_nameless (view, volume, points);
  g_ptr_array_sort (points, compare_times);
  return points;
}

static GPtrArray *
qemu_list (SnapVolume *volume, GError **error)
{
  const QemuVolume *self = (QemuVolume *) volume;
  g_autoptr (QemuSession) session = qemu_session_open (self->socket, error);
  g_autoptr (QemuView) view =
      session != NULL ? qemu_view_new (session, error) : NULL;

  return view != NULL ? qemu_points (view, self) : NULL;
}

static SnapPoint *
qemu_special (SnapVolume *volume, SnapPointKind kind, GError **error)
{
  const QemuVolume *self = (QemuVolume *) volume;
  g_autoptr (QemuSession) session = NULL;
  g_autoptr (QemuView) view = NULL;
  const QmpDisk *disk;
  SnapPoint *point;

  if (kind != SNAP_POINT_LIVE) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no backing file",
                    volume->location);
    return NULL;
  }
  session = qemu_session_open (self->socket, error);
  view = session != NULL ? qemu_view_new (session, error) : NULL;
  disk = view != NULL ? qemu_view_disk (view, self, error) : NULL;
  if (disk == NULL)
    return NULL;
  point = snap_point_new (SNAP_POINT_LIVE, "live");
  point->id = g_strdup ("live");
  point->size = disk->size;
  point->no_image = TRUE;
  return point;
}

const SnapDriver snap_driver_qemu = {
  SNAP_DRIVER_INIT,
  .name = "qemu",
  .description = "disks of a running guest, through the monitor of its QEMU",
  .probe = qemu_probe,
  .open = qemu_open,
  .close = qemu_close,
  .list = qemu_list,
  .special = qemu_special,
  .remove = qemu_remove,
  .plan = qemu_plan,
  .prepare = qemu_prepare,
  .cut = qemu_cut,
  .commit = qemu_commit,
  .abort = qemu_abort,
  .free_cut = qemu_free_cut,
  .cuts_at_once = qemu_cuts_at_once,
  .recover = qemu_recover,
  .comparable = qemu_comparable,
  .diff = qemu_diff,
  .open_image = qemu_image_open,
  .window = qemu_window,
  .acknowledge = qemu_acknowledge,
  .monitor = qemu_monitor,
};
