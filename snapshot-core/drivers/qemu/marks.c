/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a cut does with bitmaps.
 *
 * A bitmap follows the size of its disk: when the disk is made smaller, what it
 * says of the part that goes is forgotten, and when it grows again the new part
 * is clean.  So beside each base lies a second bitmap, which records nothing
 * and marks the last granule of the disk.  Once that mark is gone the disk has
 * been smaller, and the base is none any more.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include "qmp/json.h"

/* The mark while it is made, on the node QEMU_MARKS. */
#define MAKING "end"

/* ---- small steps ---- */

static gboolean
add_bitmap (QemuSession *session, const char *node, const char *name,
            gboolean persistent, gboolean disabled, GError **error)
{
  JsonObject *arguments = qemu_object ("node", node, "name", name, NULL);

  json_object_set_int_member (arguments, "granularity", QEMU_GRANULARITY);
  json_object_set_boolean_member (arguments, "persistent", persistent);
  json_object_set_boolean_member (arguments, "disabled", disabled);
  return qemu_do (session, "block-dirty-bitmap-add", arguments, error);
}

/* {"node": TARGET_NODE, "target": TARGET, "bitmaps": [{"node":…, "name":…}]} */
static JsonObject *
describe_merge (const char *target_node, const char *target, const char *node,
                const char *name)
{
  JsonObject *merge = qemu_object ("node", target_node, "target", target, NULL);
  JsonArray *bitmaps = json_array_new ();

  json_array_add_object_element (
      bitmaps, qemu_object ("node", node, "name", name, NULL));
  json_object_set_array_member (merge, "bitmaps", bitmaps);
  return merge;
}

/* ---- the mark at the end ---- */

/* A bitmap marks what is written, and cannot be marked otherwise: so write, to
   a node that keeps nothing. */
static gboolean
write_end (QemuSession *session, const QemuVolume *volume, const char *node,
           const char *export_id, guint64 size, GError **error)
{
  g_autofree char *path = qemu_server_path (volume->socket);
  g_autoptr (SnapNbdSource) source = NULL;
  guint64 last = size > 0 ? (size - 1) / QEMU_GRANULARITY : 0;
  JsonObject *options = json_object_new ();

  json_object_set_boolean_member (options, "writable", TRUE);
  if (!add_bitmap (session, node, MAKING, FALSE, FALSE, error)
      || !qemu_export_add (session, export_id, node, options, error))
    return FALSE;
  source = snap_nbd_source_connect (path, "QEMU", export_id,
                                    (const char *const[]){ NULL }, 1,
                                    volume->parent.location, error);
  if (source == NULL
      || !snap_nbd_source_zero (source, last * QEMU_GRANULARITY,
                                size - last * QEMU_GRANULARITY, error))
    return FALSE;
  g_clear_pointer (&source, snap_nbd_source_close);
  return qemu_export_remove (session, export_id, error);
}

/* Persistent where the disk's format can store it; *persistent says so. */
static gboolean
add_end_mark (QemuSession *session, const QmpDisk *disk, const char *name,
              gboolean *persistent, GError **error)
{
  *persistent = g_str_equal (disk->format, "qcow2")
                && add_bitmap (session, disk->node, name, TRUE, TRUE, NULL);
  return *persistent
         || add_bitmap (session, disk->node, name, FALSE, TRUE, error);
}

static gboolean
mark_end (QemuSession *session, const QemuVolume *volume, const QmpDisk *disk,
          const char *set_id, gboolean *persistent, GError **error)
{
  g_autofree char *node = qemu_part_name (set_id, volume->tag, QEMU_MARKS);
  g_autofree char *export_id = qemu_part_name (set_id, volume->tag, QEMU_DIRTY);
  g_autofree char *name = qemu_end_mark_name (set_id);

  return write_end (session, volume, node, export_id, disk->size, error)
         && add_end_mark (session, disk, name, persistent, error)
         && qemu_do (session, "block-dirty-bitmap-merge",
                     describe_merge (disk->node, name, node, MAKING), error)
         && qemu_do (session, "block-dirty-bitmap-remove",
                     qemu_object ("node", node, "name", MAKING, NULL), error);
}

/* ---- bases ---- */

gboolean
qemu_base_is_sound (const QemuView *view, const QmpDisk *disk,
                    const QmpBitmap *bitmap, const char **fault)
{
  g_autoptr (QemuBitmapName) name = qemu_bitmap_name_parse (bitmap->name);
  g_autofree char *end_mark = NULL;
  guint64 marked = 0;

  *fault = "its bitmap is none of ours";
  if (name == NULL)
    return FALSE;
  end_mark = qemu_end_mark_name (name->set_id);
  if (bitmap->inconsistent)
    *fault = "its bitmap was not stored when QEMU ended";
  else if (!bitmap->recording)
    *fault = "its bitmap was disabled, and misses what was written since";
  else if (bitmap->busy)
    *fault = "its bitmap is in use by somebody else";
  else if (!qemu_view_count (view, disk->node, end_mark, &marked)
           || marked == 0)
    *fault = "the disk was made smaller since";
  else
    *fault = NULL;
  return *fault == NULL;
}

QmpBitmap *
qemu_base_find (const QmpDisk *disk, const char *set_id)
{
  for (guint i = 0; i < disk->bitmaps->len; i++) {
    QmpBitmap *bitmap = g_ptr_array_index (disk->bitmaps, i);
    g_autoptr (QemuBitmapName) name = qemu_bitmap_name_parse (bitmap->name);

    if (name != NULL && g_str_equal (name->set_id, set_id))
      return bitmap;
  }
  return NULL;
}

static gboolean
add_frozen_copies (QemuSession *session, const QemuView *view,
                   const QmpDisk *disk, const char *node, GError **error)
{
  for (guint i = 0; i < disk->bitmaps->len; i++) {
    const QmpBitmap *bitmap = g_ptr_array_index (disk->bitmaps, i);
    g_autoptr (QemuBitmapName) name = qemu_bitmap_name_parse (bitmap->name);
    const char *fault;

    if (qemu_base_is_sound (view, disk, bitmap, &fault)
        && !add_bitmap (session, node, name->set_id, FALSE, TRUE, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
qemu_marks_make (QemuSession *session, const QemuView *view,
                 const QemuVolume *volume, const QmpDisk *disk,
                 const char *set_id, gboolean *persistent, GError **error)
{
  g_autofree char *node = qemu_part_name (set_id, volume->tag, QEMU_MARKS);
  JsonObject *arguments =
      qemu_object ("driver", "null-co", "node-name", node, NULL);

  json_object_set_int_member (arguments, "size", (gint64) disk->size);
  json_object_set_boolean_member (arguments, "read-zeroes", TRUE);
  return qemu_do (session, "blockdev-add", arguments, error)
         && mark_end (session, volume, disk, set_id, persistent, error)
         && add_frozen_copies (session, view, disk, node, error);
}

/* ---- frozen copies ---- */

GPtrArray *
qemu_marks_list (const QemuView *view, const char *node)
{
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  JsonObject *object = g_hash_table_lookup (view->nodes, node);
  JsonArray *list =
      object != NULL ? qmp_json_array (object, "dirty-bitmaps") : NULL;
  guint n = list != NULL ? json_array_get_length (list) : 0;

  for (guint i = 0; i < n; i++) {
    JsonObject *at = qmp_json_as_object (json_array_get_element (list, i));
    const char *name = at != NULL ? qmp_json_string (at, "name") : NULL;

    if (name != NULL && qemu_is_set_id (name))
      g_ptr_array_add (names, g_strdup (name));
  }
  return names;
}

gboolean
qemu_marks_add_merges (const QemuView *view, const QemuVolume *volume,
                       const QmpDisk *disk, const char *set_id,
                       JsonArray *actions, GError **error)
{
  g_autofree char *node = qemu_part_name (set_id, volume->tag, QEMU_MARKS);
  g_autoptr (GPtrArray) names = qemu_marks_list (view, node);

  for (guint i = 0; i < names->len; i++) {
    const char *base = g_ptr_array_index (names, i);
    const QmpBitmap *bitmap = qemu_base_find (disk, base);
    JsonObject *action;

    if (bitmap == NULL)
      return snap_error_set (error, SNAP_ERROR_BUSY,
                             "%s: the bitmap of set %s was removed meanwhile",
                             volume->parent.location, base);
    action = qemu_object ("type", "block-dirty-bitmap-merge", NULL);
    json_object_set_object_member (
        action, "data", describe_merge (node, base, disk->node, bitmap->name));
    json_array_add_object_element (actions, action);
  }
  return TRUE;
}
