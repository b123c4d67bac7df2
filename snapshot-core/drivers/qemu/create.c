/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order in which a cut is made is what keeps changes from being missed.
 * First the new bitmap begins to record, then comes the instant, then the
 * older bitmaps are copied: so each of them can only hold too much.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include <string.h>

#include "snapshot-core/drivers/record.h"

/* A slow scratch device makes the guest wait for so long, then the snapshot
   breaks; seconds. */
#define COPY_TIMEOUT_S 30

#define MAX_CONSUMER_LENGTH 64

typedef struct {
  SnapCut parent;
  char *name;
  char *set_id;
  QemuMechanism mechanism;
  gboolean persistent; /* the disk can store bitmaps */
  char *node;          /* its format node, as it was prepared for */
  char *top;           /* what the device wrote to then */
  guint64 size;
  gboolean in_window; /* the window makes the cut, not cut() */
} QemuCut;

static const QemuVolume *
volume_of (const QemuCut *cut)
{
  return (const QemuVolume *) cut->parent.volume;
}

/* ---- plan ---- */

static gboolean
check_consumer (const QemuVolume *volume, GError **error)
{
  const char *consumer = volume->consumer;

  if (consumer == NULL
      || (consumer[0] != '\0' && strlen (consumer) <= MAX_CONSUMER_LENGTH
          && strspn (consumer, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_+.-")
                 == strlen (consumer)))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         "%s: no name of a consumer: up to %d of A-Z a-z 0-9 "
                         "_ + . -",
                         consumer, MAX_CONSUMER_LENGTH);
}

SnapCut *
qemu_plan (SnapVolume *volume, const char *name, const char *set_id,
           char **record, GError **error)
{
  const QemuVolume *self = (QemuVolume *) volume;
  g_autoptr (QemuSession) session = qemu_session_open (self->socket, error);
  g_autoptr (QemuView) view =
      session != NULL ? qemu_view_new (session, error) : NULL;
  QmpDisk *disk = view != NULL ? qemu_view_disk (view, self, error) : NULL;
  QemuMechanism mechanism;
  QemuCut *cut;

  if (disk == NULL || !check_consumer (self, error)
      || !qemu_choose (session, view, self, disk, &mechanism, error)
      || !qemu_scratch_check (self, disk, mechanism, error))
    return NULL;
  cut = g_new0 (QemuCut, 1);
  cut->parent.volume = volume;
  cut->parent.expected_ms = 20;
  cut->name = g_strdup (name);
  cut->set_id = g_strdup (set_id);
  cut->mechanism = mechanism;
  *record = snap_record_format (
      (const char *[]){ self->socket, self->device, set_id, NULL });
  return &cut->parent;
}

/* ---- prepare ---- */

static gboolean
add_copier (QemuSession *session, const QemuCut *cut, GError **error)
{
  const char *tag = volume_of (cut)->tag;
  g_autofree char *node = qemu_part_name (cut->set_id, tag, QEMU_COPIER);
  g_autofree char *target = qemu_part_name (cut->set_id, tag, QEMU_SCRATCH);
  JsonObject *arguments = qemu_object (
      "driver", "copy-before-write", "node-name", node, "file", cut->top,
      "target", target, "on-cbw-error", "break-snapshot", NULL);

  json_object_set_int_member (arguments, "cbw-timeout", COPY_TIMEOUT_S);
  return qemu_do (session, "blockdev-add", arguments, error);
}

static gboolean
make_nodes (QemuSession *session, const QemuView *view, QemuCut *cut,
            const QmpDisk *disk, GError **error)
{
  const QemuVolume *volume = volume_of (cut);
  gboolean fleece = cut->mechanism == QEMU_FLEECE;

  return qemu_scratch_make (session, volume, disk, cut->set_id,
                            fleece ? disk->node : NULL, error)
         && qemu_marks_make (session, view, volume, disk, cut->set_id,
                             &cut->persistent, error)
         && (fleece || add_copier (session, cut, error));
}

gboolean
qemu_prepare (SnapCut *cut, GError **error)
{
  QemuCut *self = (QemuCut *) cut;
  const QemuVolume *volume = volume_of (self);
  g_autoptr (QemuSession) session = qemu_session_open (volume->socket, error);
  g_autoptr (QemuView) view =
      session != NULL ? qemu_view_new (session, error) : NULL;
  const QmpDisk *disk =
      view != NULL ? qemu_view_disk (view, volume, error) : NULL;

  if (disk == NULL)
    return FALSE;
  self->node = g_strdup (disk->node);
  self->top = g_strdup (disk->top);
  self->size = disk->size;
  return qemu_server_start (session, volume->socket, error)
         && make_nodes (session, view, self, disk, error);
}

/* ---- the commands of the cut ---- */

/* {"type": TYPE, "data": DATA}; takes @data. */
static void
add_action (JsonArray *actions, const char *type, JsonObject *data)
{
  JsonObject *action = qemu_object ("type", type, NULL);

  json_object_set_object_member (action, "data", data);
  json_array_add_object_element (actions, action);
}

static void
add_recording (JsonArray *actions, const QemuCut *cut, gint64 now_us)
{
  const QemuBitmapName name = { cut->name, cut->set_id, now_us, cut->size,
                                volume_of (cut)->consumer };
  g_autofree char *native = qemu_bitmap_name_format (&name);
  JsonObject *data = qemu_object ("node", cut->node, "name", native, NULL);

  json_object_set_int_member (data, "granularity", QEMU_GRANULARITY);
  json_object_set_boolean_member (data, "persistent", cut->persistent);
  add_action (actions, "block-dirty-bitmap-add", data);
}

/* With a name for its filter: one without is hidden, and a later filter of ours
   would go below it and cut it off. */
static void
add_backup (JsonArray *actions, const QemuCut *cut)
{
  const char *tag = volume_of (cut)->tag;
  g_autofree char *job = qemu_part_name (cut->set_id, tag, QEMU_JOB);
  g_autofree char *target = qemu_part_name (cut->set_id, tag, QEMU_SCRATCH);
  g_autofree char *filter = qemu_part_name (cut->set_id, tag, QEMU_FLEECER);
  JsonObject *data =
      qemu_object ("job-id", job, "device", cut->node, "target", target, "sync",
                   "none", "filter-node-name", filter, NULL);

  json_object_set_boolean_member (data, "auto-dismiss", FALSE);
  add_action (actions, "blockdev-backup", data);
}

/* Takes both. */
static void
add_command (GPtrArray *commands, const char *command, JsonObject *arguments)
{
  JsonObject *object = qemu_object ("execute", command, NULL);

  json_object_set_object_member (object, "arguments", arguments);
  g_ptr_array_add (commands, object);
}

static void
add_transaction (GPtrArray *commands, JsonArray *actions)
{
  JsonObject *arguments = json_object_new ();

  if (json_array_get_length (actions) == 0) {
    json_object_unref (arguments);
    json_array_unref (actions);
    return;
  }
  json_object_set_array_member (arguments, "actions", actions);
  add_command (commands, "transaction", arguments);
}

/* Put the filter between the device and what it writes to. */
static void
add_swap (GPtrArray *commands, const QemuCut *cut, const QmpDisk *disk)
{
  g_autofree char *path = qemu_device_path (disk);
  g_autofree char *node =
      qemu_part_name (cut->set_id, volume_of (cut)->tag, QEMU_COPIER);

  add_command (
      commands, "qom-set",
      qemu_object ("path", path, "property", "drive", "value", node, NULL));
}

/* Whoever changed the graph since prepare() would be cut out of it. */
static gboolean
check_unchanged (const QemuCut *cut, const QmpDisk *disk, GError **error)
{
  return (g_str_equal (cut->node, disk->node)
          && g_str_equal (cut->top, disk->top) && cut->size == disk->size)
         || snap_error_set (error, SNAP_ERROR_BUSY,
                            "%s: somebody changed its nodes or size meanwhile",
                            cut->parent.volume->location);
}

static gboolean
collect_disks (QemuCut **cuts, gsize n_cuts, const QemuView *view,
               const QmpDisk **disks, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++) {
    disks[i] = qemu_view_disk (view, volume_of (cuts[i]), error);
    if (disks[i] == NULL || !check_unchanged (cuts[i], disks[i], error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
add_merges (QemuCut **cuts, gsize n_cuts, const QemuView *view,
            const QmpDisk **disks, JsonArray *actions, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (!qemu_marks_add_merges (view, volume_of (cuts[i]), disks[i],
                                cuts[i]->set_id, actions, error))
      return FALSE;
  return TRUE;
}

/* The whole cut of disks of one guest; elements JsonObject. */
static GPtrArray *
make_commands (QemuCut **cuts, gsize n_cuts, const QemuView *view,
               GError **error)
{
  g_autoptr (GPtrArray) commands =
      g_ptr_array_new_with_free_func ((GDestroyNotify) json_object_unref);
  g_autofree const QmpDisk **disks = g_new (const QmpDisk *, n_cuts);
  g_autoptr (JsonArray) first = json_array_new ();
  g_autoptr (JsonArray) last = json_array_new ();
  gint64 now_us = g_get_real_time ();
  gboolean swaps = FALSE;

  if (!collect_disks (cuts, n_cuts, view, disks, error))
    return NULL;
  for (gsize i = 0; i < n_cuts; i++)
    add_recording (first, cuts[i], now_us);
  for (gsize i = 0; i < n_cuts; i++)
    if (cuts[i]->mechanism == QEMU_FLEECE)
      add_backup (first, cuts[i]);
    else
      swaps = TRUE;
  if (!add_merges (cuts, n_cuts, view, disks, swaps ? last : first, error))
    return NULL;
  add_transaction (commands, json_array_ref (first));
  for (gsize i = 0; i < n_cuts; i++)
    if (cuts[i]->mechanism == QEMU_COPY_BEFORE_WRITE)
      add_swap (commands, cuts[i], disks[i]);
  add_transaction (commands, json_array_ref (last));
  return g_steal_pointer (&commands);
}

/* ---- window and cut ---- */

static gboolean
are_of_one_guest (SnapCut **cuts, gsize n_cuts)
{
  const QemuVolume *first = (QemuVolume *) cuts[0]->volume;

  for (gsize i = 1; i < n_cuts; i++)
    if (!g_str_equal (((QemuVolume *) cuts[i]->volume)->socket, first->socket))
      return FALSE;
  return TRUE;
}

gboolean
qemu_cuts_at_once (SnapCut **cuts, gsize n_cuts)
{
  gboolean swaps = FALSE;

  for (gsize i = 0; i < n_cuts; i++)
    swaps |= ((QemuCut *) cuts[i])->mechanism == QEMU_COPY_BEFORE_WRITE;
  return are_of_one_guest (cuts, n_cuts)
         && (n_cuts == 1 || !swaps
             || volume_of ((QemuCut *) cuts[0])->quiesce != SNAP_QUIESCE_NONE);
}

gboolean
qemu_window (SnapCut **cuts, gsize n_cuts, SnapWindow *window, GError **error)
{
  const QemuVolume *volume = volume_of ((QemuCut *) cuts[0]);
  g_autoptr (QemuSession) session = NULL;
  g_autoptr (QemuView) view = NULL;
  g_autoptr (GPtrArray) commands = NULL;

  if (!are_of_one_guest (cuts, n_cuts))
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: the disks of a set must be of one guest",
                           volume->parent.location);
  session = qemu_session_open (volume->socket, error);
  view = session != NULL ? qemu_view_new (session, error) : NULL;
  if (view != NULL)
    commands = make_commands ((QemuCut **) cuts, n_cuts, view, error);
  if (commands == NULL)
    return FALSE;
  for (guint i = 0; i < commands->len; i++) {
    g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
    g_autofree char *text = NULL;

    json_node_set_object (node, commands->pdata[i]);
    text = json_to_string (node, FALSE);
    snap_window_execute (window, text);
  }
  for (gsize i = 0; i < n_cuts; i++)
    ((QemuCut *) cuts[i])->in_window = TRUE;
  return TRUE;
}

static gboolean
cut_guest (SnapCut **cuts, gsize n_cuts, GError **error)
{
  const QemuVolume *volume = volume_of ((QemuCut *) cuts[0]);
  g_autoptr (QemuSession) session = qemu_session_open (volume->socket, error);
  g_autoptr (QemuView) view =
      session != NULL ? qemu_view_new (session, error) : NULL;
  g_autoptr (GPtrArray) commands =
      view != NULL ? make_commands ((QemuCut **) cuts, n_cuts, view, error)
                   : NULL;

  for (guint i = 0; commands != NULL && i < commands->len; i++) {
    JsonObject *command = commands->pdata[i];

    if (!qemu_do (session, json_object_get_string_member (command, "execute"),
                  json_object_ref (
                      json_object_get_object_member (command, "arguments")),
                  error))
      return FALSE;
  }
  return commands != NULL;
}

gboolean
qemu_cut (SnapCut **cuts, gsize n_cuts, GError **error)
{
  if (((QemuCut *) cuts[0])->in_window)
    return TRUE;
  if (are_of_one_guest (cuts, n_cuts))
    return cut_guest (cuts, n_cuts, error);
  for (gsize i = 0; i < n_cuts; i++)
    if (!cut_guest (cuts + i, 1, error))
      return FALSE;
  return TRUE;
}

/* ---- commit, abort ---- */

/* What a copier hides is read through a node that can be made only when the
   device writes to the copier. */
static gboolean
add_access (QemuSession *session, const QemuView *view, const char *set_id,
            const char *tag, GError **error)
{
  g_autofree char *copier = qemu_part_name (set_id, tag, QEMU_COPIER);
  g_autofree char *access = qemu_part_name (set_id, tag, QEMU_ACCESS);

  return !qemu_view_has_node (view, copier) || qemu_view_has_node (view, access)
         || qemu_do (session, "blockdev-add",
                     qemu_object ("driver", "snapshot-access", "node-name",
                                  access, "file", copier, NULL),
                     error);
}

static JsonArray *
list_marks (const QemuView *view, const char *node)
{
  g_autoptr (GPtrArray) names = qemu_marks_list (view, node);
  JsonArray *list = json_array_new ();

  for (guint i = 0; i < names->len; i++)
    json_array_add_string_element (list, names->pdata[i]);
  return list;
}

/* Unless it is there: @part of a cut, as export @id. */
static gboolean
publish_part (QemuSession *session, const QemuView *view, const char *set_id,
              const char *tag, QemuPart part, QemuPart export, GError **error)
{
  g_autofree char *node = qemu_part_name (set_id, tag, part);
  g_autofree char *id = qemu_part_name (set_id, tag, export);
  JsonObject *options;

  if (g_hash_table_contains (view->exports, id))
    return TRUE;
  options = json_object_new ();
  json_object_set_boolean_member (options, "writable", FALSE);
  if (export == QEMU_TAKEN)
    json_object_set_boolean_member (options, "allocation-depth", TRUE);
  if (export == QEMU_DIRTY)
    json_object_set_array_member (options, "bitmaps", list_marks (view, node));
  return qemu_export_add (session, id, node, options, error);
}

static gboolean
publish_all (QemuSession *session, const QemuView *view, const char *set_id,
             const char *tag, GError **error)
{
  g_autofree char *copier = qemu_part_name (set_id, tag, QEMU_COPIER);
  QemuPart data =
      qemu_view_has_node (view, copier) ? QEMU_ACCESS : QEMU_SCRATCH;

  return publish_part (session, view, set_id, tag, data, QEMU_DATA, error)
         && publish_part (session, view, set_id, tag, QEMU_SCRATCH, QEMU_TAKEN,
                          error)
         && publish_part (session, view, set_id, tag, QEMU_MARKS, QEMU_DIRTY,
                          error);
}

gboolean
qemu_publish (QemuSession *session, const QemuVolume *volume,
              const char *set_id, GError **error)
{
  g_autofree char *node = qemu_part_name (set_id, volume->tag, QEMU_MARKS);
  g_autoptr (QemuView) view = qemu_view_new (session, error);

  if (view == NULL)
    return FALSE;
  if (!qemu_view_has_node (view, node))
    return TRUE; /* QEMU was started anew: there is no data any more */
  return qemu_server_start (session, volume->socket, error)
         && add_access (session, view, set_id, volume->tag, error)
         && publish_all (session, view, set_id, volume->tag, error);
}

gboolean
qemu_commit (SnapCut *cut, GError **error)
{
  const QemuCut *self = (QemuCut *) cut;
  const QemuVolume *volume = volume_of (self);
  g_autoptr (QemuSession) session = qemu_session_open (volume->socket, error);

  return session != NULL && qemu_publish (session, volume, self->set_id, error);
}

static gboolean
undo (const QemuVolume *volume, const char *set_id, GError **error)
{
  g_autoptr (QemuSession) session = qemu_session_open (volume->socket, error);

  return session != NULL && qemu_end_data (session, volume, set_id, error)
         && qemu_remove_bitmaps (session, volume, set_id, error);
}

gboolean
qemu_abort (SnapCut *cut, GError **error)
{
  const QemuCut *self = (QemuCut *) cut;

  return undo (volume_of (self), self->set_id, error);
}

void
qemu_free_cut (SnapCut *cut)
{
  QemuCut *self = (QemuCut *) cut;

  g_free (self->name);
  g_free (self->set_id);
  g_free (self->node);
  g_free (self->top);
  g_free (self);
}

gboolean
qemu_recover (const char *record, SnapRecover action, GError **error)
{
  g_auto (GStrv) words = snap_record_parse (record, 3, error);
  g_autoptr (QemuVolume) volume = NULL;
  g_autoptr (QemuSession) session = NULL;

  if (words == NULL)
    return FALSE;
  if (!g_path_is_absolute (words[0]) || !qemu_is_set_id (words[2]))
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "journal: %s is no disk of a guest", words[0]);
  volume = qemu_volume_new (words[0], words[1]);
  if (action == SNAP_RECOVER_ABORT)
    return undo (volume, words[2], error);
  session = qemu_session_open (volume->socket, error);
  return session != NULL && qemu_publish (session, volume, words[2], error);
}
