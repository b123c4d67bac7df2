/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every step looks whether there is something to do, so that all of it can be
 * done again.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include "qmp/json.h"
#include "snapshot-core/os/deadline.h"

#define JOB_MS 30000
#define LOOK_MS 5

/* ---- jobs ---- */

/* The status of a job now; NULL if there is none, or on error. */
static char *
look_at_job (QemuSession *session, const char *id, GError **error)
{
  g_autoptr (JsonNode) answer = qemu_ask (session, "query-jobs", NULL, error);
  JsonArray *list = answer != NULL && JSON_NODE_HOLDS_ARRAY (answer)
                        ? json_node_get_array (answer)
                        : NULL;

  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
    JsonObject *job = qmp_json_as_object (json_array_get_element (list, i));

    if (job != NULL && g_strcmp0 (qmp_json_string (job, "id"), id) == 0)
      return g_strdup (qmp_json_string (job, "status"));
  }
  return NULL;
}

static gboolean
end_job (QemuSession *session, const char *id, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (JOB_MS);
  gboolean cancelled = FALSE;

  for (;;) {
    g_autoptr (GError) reason = NULL;
    g_autofree char *status = look_at_job (session, id, &reason);

    if (reason != NULL) {
      g_propagate_error (error, g_steal_pointer (&reason));
      return FALSE;
    }
    if (status == NULL || g_str_equal (status, "null"))
      return TRUE;
    if (g_str_equal (status, "concluded"))
      return qemu_do (session, "job-dismiss", qemu_object ("id", id, NULL),
                      error);
    /* One that ends at the same moment cannot be cancelled; look again. */
    if (!cancelled)
      cancelled =
          qemu_do (session, "job-cancel", qemu_object ("id", id, NULL), NULL);
    if (snap_deadline_left_ms (deadline) == 0)
      return snap_error_set (error, SNAP_ERROR_BUSY, "%s: job %s does not end",
                             session->name, id);
    g_usleep (LOOK_MS * 1000);
  }
}

/* ---- nodes ---- */

static gboolean
remove_node (QemuSession *session, const QemuView *view, const char *node,
             GError **error)
{
  return !qemu_view_has_node (view, node)
         || qemu_do (session, "blockdev-del",
                     qemu_object ("node-name", node, NULL), error);
}

static gboolean
remove_part (QemuSession *session, const QemuView *view, const char *set_id,
             const char *tag, QemuPart part, GError **error)
{
  g_autofree char *node = qemu_part_name (set_id, tag, part);

  return remove_node (session, view, node, error);
}

/* ---- filters ---- */

static const QmpDisk *
find_disk_over (const QemuView *view, const char *top)
{
  for (guint i = 0; i < view->disks->len; i++) {
    const QmpDisk *disk = g_ptr_array_index (view->disks, i);

    if (g_str_equal (disk->top, top))
      return disk;
  }
  return NULL;
}

static gboolean
is_below_another (const QemuView *view, const char *node)
{
  GHashTableIter below;
  gpointer upper, lower;

  g_hash_table_iter_init (&below, view->below);
  while (g_hash_table_iter_next (&below, &upper, &lower))
    if (g_str_equal (lower, node)
        && !qemu_part_parse (upper, QEMU_ACCESS, NULL, NULL))
      return TRUE;
  return FALSE;
}

/* Give the device what is below its filter. */
static gboolean
swap_out (QemuSession *session, const QemuView *view, const char *copier,
          GError **error)
{
  const QmpDisk *disk = find_disk_over (view, copier);
  const char *below = g_hash_table_lookup (view->below, copier);
  g_autofree char *path = NULL;

  if (disk == NULL)
    return TRUE;
  path = qemu_device_path (disk);
  if (below == NULL || path == NULL)
    return snap_error_set (error, SNAP_ERROR_FAILED,
                           "%s: nothing tells what is below %s", session->name,
                           copier);
  return qemu_do (
      session, "qom-set",
      qemu_object ("path", path, "property", "drive", "value", below, NULL),
      error);
}

/*
 * A filter cannot be taken out from under another one.  It stays until that
 * goes, without data of ours to be found by; *left says so.
 */
static gboolean
remove_copier (QemuSession *session, const QemuView *view, const char *set_id,
               const char *tag, gboolean *left, GError **error)
{
  g_autofree char *copier = qemu_part_name (set_id, tag, QEMU_COPIER);

  *left = qemu_view_has_node (view, copier) && is_below_another (view, copier);
  if (*left || !qemu_view_has_node (view, copier))
    return TRUE;
  return swap_out (session, view, copier, error)
         && remove_node (session, view, copier, error);
}

/* QEMU before 9.1 keeps a descriptor that it was handed as long as the guest
   stands still; so that it keeps no more than that. */
static void
empty_file (QemuSession *session, const QemuView *view, const char *node)
{
  JsonObject *arguments;

  if (!qemu_view_has_node (view, node))
    return;
  arguments = qemu_object ("node-name", node, NULL);
  json_object_set_int_member (arguments, "size", 0);
  qemu_do (session, "block_resize", arguments, NULL);
}

static gboolean
remove_scratch (QemuSession *session, const QemuView *view, const char *set_id,
                const char *tag, GError **error)
{
  g_autofree char *file = qemu_part_name (set_id, tag, QEMU_FILE);

  if (!remove_part (session, view, set_id, tag, QEMU_SCRATCH, error))
    return FALSE;
  empty_file (session, view, file);
  return remove_node (session, view, file, error);
}

static gboolean
remove_filter_and_scratch (QemuSession *session, const QemuView *view,
                           const char *set_id, const char *tag, GError **error)
{
  gboolean left;

  return remove_copier (session, view, set_id, tag, &left, error)
         && (left || remove_scratch (session, view, set_id, tag, error));
}

/* A filter directly under a device whose data was ended before: its turn has
   come.  TRUE with *found if there was one. */
static gboolean
remove_left_one (QemuSession *session, gboolean *found, GError **error)
{
  g_autoptr (QemuView) view = qemu_view_new (session, error);

  *found = FALSE;
  for (guint i = 0; view != NULL && i < view->disks->len; i++) {
    const QmpDisk *disk = g_ptr_array_index (view->disks, i);
    g_autofree char *set_id = NULL;
    g_autofree char *tag = NULL;
    g_autofree char *marks = NULL;

    if (!qemu_part_parse (disk->top, QEMU_COPIER, &set_id, &tag))
      continue;
    marks = qemu_part_name (set_id, tag, QEMU_MARKS);
    if (qemu_view_has_node (view, marks))
      continue;
    *found = TRUE;
    return remove_filter_and_scratch (session, view, set_id, tag, error);
  }
  return view != NULL;
}

static gboolean
remove_left (QemuSession *session, GError **error)
{
  gboolean found;

  do {
    if (!remove_left_one (session, &found, error))
      return FALSE;
  } while (found);
  return TRUE;
}

/* ---- a guest that stands still for want of scratch ---- */

static gboolean
is_stopped_by_error (QemuSession *session)
{
  g_autoptr (JsonNode) answer = qemu_ask (session, "query-status", NULL, NULL);
  JsonObject *status = answer != NULL ? qmp_json_as_object (answer) : NULL;

  return status != NULL
         && g_strcmp0 (qmp_json_string (status, "status"), "io-error") == 0;
}

/* ---- all of a cut's data ---- */

static gboolean
remove_exports (QemuSession *session, const char *set_id, const char *tag,
                GError **error)
{
  static const QemuPart exports[] = { QEMU_DATA, QEMU_TAKEN, QEMU_DIRTY };

  for (gsize i = 0; i < G_N_ELEMENTS (exports); i++) {
    g_autofree char *id = qemu_part_name (set_id, tag, exports[i]);

    if (!qemu_export_remove (session, id, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
end_jobs (QemuSession *session, const char *set_id, const char *tag,
          GError **error)
{
  g_autofree char *backup = qemu_part_name (set_id, tag, QEMU_JOB);
  g_autofree char *create = qemu_part_name (set_id, tag, QEMU_FORMAT);
  g_autofree char *status = look_at_job (session, backup, NULL);
  gboolean stopped = status != NULL && is_stopped_by_error (session);

  /* Then the guest tries again what it could not write. */
  return end_job (session, backup, error) && end_job (session, create, error)
         && (!stopped || qemu_do (session, "cont", NULL, error));
}

gboolean
qemu_end_data (QemuSession *session, const QemuVolume *volume,
               const char *set_id, GError **error)
{
  const char *tag = volume->tag;
  g_autoptr (QemuView) view = NULL;

  if (!remove_exports (session, set_id, tag, error)
      || !end_jobs (session, set_id, tag, error))
    return FALSE;
  view = qemu_view_new (session, error);
  return view != NULL
         && remove_part (session, view, set_id, tag, QEMU_ACCESS, error)
         && remove_filter_and_scratch (session, view, set_id, tag, error)
         && remove_part (session, view, set_id, tag, QEMU_MARKS, error)
         && remove_left (session, error)
         && qemu_server_stop_idle (session, volume->socket, error);
}

/* ---- bitmaps ---- */

static gboolean
remove_bitmap (QemuSession *session, const char *node, const char *name,
               GError **error)
{
  return qemu_do (session, "block-dirty-bitmap-remove",
                  qemu_object ("node", node, "name", name, NULL), error);
}

gboolean
qemu_remove_bitmaps (QemuSession *session, const QemuVolume *volume,
                     const char *set_id, GError **error)
{
  g_autoptr (QemuView) view = qemu_view_new (session, error);
  const QmpDisk *disk =
      view != NULL ? qmp_disks_find (view->disks, volume->device) : NULL;

  for (guint i = 0; disk != NULL && i < disk->bitmaps->len; i++) {
    const QmpBitmap *bitmap = g_ptr_array_index (disk->bitmaps, i);

    if (qemu_bitmap_is_of (bitmap->name, set_id)
        && !remove_bitmap (session, disk->node, bitmap->name, error))
      return FALSE;
  }
  return view != NULL;
}

/* ---- deletion and acknowledgement ---- */

/* The point as it is now; NOT_FOUND if it is gone. */
static SnapPoint *
find_point (QemuSession *session, const QemuVolume *volume,
            const SnapPoint *point, GError **error)
{
  g_autoptr (QemuView) view = qemu_view_new (session, error);
  g_autoptr (GPtrArray) points =
      view != NULL ? qemu_points (view, volume) : NULL;

  for (guint i = 0; points != NULL && i < points->len; i++) {
    const SnapPoint *at = g_ptr_array_index (points, i);

    if (g_strcmp0 (at->id, point->id) == 0)
      return snap_point_dup (at);
  }
  if (points != NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s@%s: snapshot %s is gone",
                    volume->parent.location, point->name, point->id);
  return NULL;
}

gboolean
qemu_remove (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  const QemuVolume *self = (QemuVolume *) volume;
  g_autoptr (QemuSession) session = qemu_session_open (self->socket, error);
  g_autoptr (SnapPoint) now =
      session != NULL ? find_point (session, self, point, error) : NULL;

  if (now == NULL)
    return FALSE;
  return qemu_end_data (session, self, now->set_id, error)
         && qemu_remove_bitmaps (session, self, now->set_id, error);
}

/* A job that ended while its data was still to be read: from then on reads
   showed the disk as it is now. */
static gboolean
check_data (QemuSession *session, const QemuVolume *volume,
            const SnapPoint *point, GError **error)
{
  g_autofree char *id = qemu_part_name (point->set_id, volume->tag, QEMU_JOB);
  g_autoptr (GError) reason = NULL;
  g_autofree char *status = look_at_job (session, id, &reason);

  if (reason != NULL) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  return status == NULL || !g_str_equal (status, "concluded")
         || snap_error_set (error, SNAP_ERROR_FAILED,
                            "%s@%s: its data was lost before: somebody ended "
                            "job %s",
                            volume->parent.location, point->name, id);
}

/* The same consumer's older bases; those whose data is still there are not
   acknowledged yet and stay. */
static gboolean
remove_older (QemuSession *session, const QemuVolume *volume,
              const SnapPoint *point, GError **error)
{
  g_autoptr (QemuBitmapName) name =
      point->handle != NULL ? qemu_bitmap_name_parse (point->handle) : NULL;
  g_autoptr (QemuView) view = qemu_view_new (session, error);
  g_autoptr (GPtrArray) points =
      view != NULL ? qemu_points (view, volume) : NULL;

  for (guint i = 0; points != NULL && i < points->len; i++) {
    const SnapPoint *at = g_ptr_array_index (points, i);
    g_autoptr (QemuBitmapName) its =
        at->handle != NULL ? qemu_bitmap_name_parse (at->handle) : NULL;

    if (at->kind == SNAP_POINT_CHECKPOINT && its != NULL && name != NULL
        && its->time_us < name->time_us
        && g_strcmp0 (its->consumer, name->consumer) == 0
        && !qemu_remove_bitmaps (session, volume, at->set_id, error))
      return FALSE;
  }
  return points != NULL;
}

gboolean
qemu_acknowledge (SnapVolume *volume, const SnapPoint *point, gboolean failed,
                  GError **error)
{
  const QemuVolume *self = (QemuVolume *) volume;
  g_autoptr (QemuSession) session = NULL;
  g_autoptr (SnapPoint) now = NULL;

  if (failed)
    return qemu_remove (volume, point, error);
  session = qemu_session_open (self->socket, error);
  now = session != NULL ? find_point (session, self, point, error) : NULL;
  return now != NULL && check_data (session, self, now, error)
         && qemu_end_data (session, self, now->set_id, error)
         && remove_older (session, self, now, error);
}
