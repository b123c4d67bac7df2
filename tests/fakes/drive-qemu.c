/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ops of the qemu driver from a command line, one or more each run, so that
 * a test can stop between any two of them as if we were killed.
 *
 *   drive-qemu SOCKET DEVICE[,DEVICE…] VERB [WORD…] [KEY=VALUE…]
 *
 *   create NAME SET_ID   [mechanism= consumer= scratch= quiesce=pause|none
 *                         until=plan|prepare|cut  between=HMP-COMMAND: also
 *                         between the commands of the window]
 *                                              prints the records
 *   recover commit|abort RECORD
 *   list                 NAME KIND ID SIZE a line
 *   diff FROM TO         OFFSET LENGTH d|z a line, then "end GRANULARITY"
 *   read POINT FILE
 *   ack POINT [failed]
 *   delete POINT
 *
 * Ends with the code of the error + 10, or 0.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "qmp/monitor.h"
#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/fd.h"

#define MAX_VOLUMES 8

static char **keys;
static SnapVolume *volumes[MAX_VOLUMES];
static gsize n_volumes;

static int
fail (GError *error)
{
  fprintf (stderr, "%s\n", error->message);
  return error->code + 10;
}

/* The value of KEY=VALUE on the command line, or NULL. */
static const char *
find (const char *key)
{
  for (char **at = keys; *at != NULL; at++)
    if (g_str_has_prefix (*at, key) && (*at)[strlen (key)] == '=')
      return *at + strlen (key) + 1;
  return NULL;
}

static gboolean
open_volumes (const char *socket, const char *devices, GError **error)
{
  g_auto (GStrv) names = g_strsplit (devices, ",", MAX_VOLUMES);
  const SnapOpenOptions options = {
    .mode = SNAP_OPEN_MANAGE,
    .mechanism = find ("mechanism"),
    .scratch_dir = find ("scratch"),
    .consumer = find ("consumer"),
    .force = find ("force") != NULL,
    .quiesce = g_strcmp0 (find ("quiesce"), "pause") == 0 ? SNAP_QUIESCE_PAUSE
                                                          : SNAP_QUIESCE_NONE,
  };

  for (char **name = names; *name != NULL; name++) {
    volumes[n_volumes] = snap_driver_qemu.open (
        socket, **name != '\0' ? *name : NULL, &options, error);
    if (volumes[n_volumes] == NULL)
      return FALSE;
    n_volumes++;
  }
  return TRUE;
}

/* ---- create ---- */

static gboolean
execute (QmpClient *client, const char *command, JsonObject *arguments,
         GError **error)
{
  g_autoptr (JsonNode) answer =
      qmp_client_execute (client, command, arguments, QMP_COMMAND_MS, error);

  return answer != NULL;
}

/* What a guest might do just then. */
static gboolean
interfere (QmpClient *client, GError **error)
{
  JsonObject *arguments = json_object_new ();

  json_object_set_string_member (arguments, "command-line", find ("between"));
  return execute (client, "human-monitor-command", arguments, error);
}

/* What the guard does with the commands of a window. */
static gboolean
carry_out (const SnapWindow *window, const char *socket, GError **error)
{
  g_autoptr (QmpMonitor) monitor = qmp_monitor_ref (socket, error);
  gboolean ok = monitor != NULL;
  gboolean pause = g_strcmp0 (find ("quiesce"), "pause") == 0;

  ok = ok
       && (!pause
           || execute (qmp_monitor_client (monitor), "stop", NULL, error));
  for (guint i = 0; ok && i < window->commands->len; i++) {
    g_autoptr (JsonNode) node =
        json_from_string (window->commands->pdata[i], error);
    JsonObject *object = json_node_get_object (node);

    ok = execute (
        qmp_monitor_client (monitor),
        json_object_get_string_member (object, "execute"),
        json_object_ref (json_object_get_object_member (object, "arguments")),
        error);
    if (ok && find ("between") != NULL && i + 1 < window->commands->len)
      ok = interfere (qmp_monitor_client (monitor), error);
  }
  if (monitor != NULL && pause && find ("until") == NULL)
    ok = execute (qmp_monitor_client (monitor), "cont", NULL, NULL) && ok;
  return ok;
}

static gboolean
is_last (const char *step)
{
  return g_strcmp0 (find ("until"), step) == 0;
}

static gboolean
make (SnapCut **cuts, const char *socket, GError **error)
{
  g_autoptr (SnapWindow) window = snap_window_new ();

  if (is_last ("plan"))
    return TRUE;
  for (gsize i = 0; i < n_volumes; i++)
    if (!snap_driver_qemu.prepare (cuts[i], error))
      return FALSE;
  if (is_last ("prepare"))
    return TRUE;
  if (find ("quiesce") != NULL) {
    if (!snap_driver_qemu.window (cuts, n_volumes, window, error)
        || !snap_driver_qemu.cut (cuts, n_volumes, error)
        || !carry_out (window, socket, error))
      return FALSE;
  }
  else if (!snap_driver_qemu.cut (cuts, n_volumes, error))
    return FALSE;
  if (is_last ("cut"))
    return TRUE;
  for (gsize i = 0; i < n_volumes; i++)
    if (!snap_driver_qemu.commit (cuts[i], error))
      return FALSE;
  return TRUE;
}

static int
create (const char *socket, const char *name, const char *set_id)
{
  SnapCut *cuts[MAX_VOLUMES] = { NULL };
  GError *error = NULL;

  for (gsize i = 0; i < n_volumes; i++) {
    g_autofree char *record = NULL;

    cuts[i] = snap_driver_qemu.plan (volumes[i], name, set_id, &record, &error);
    if (cuts[i] == NULL)
      break;
    printf ("%s\n", record);
  }
  fflush (stdout);
  if (error == NULL && make (cuts, socket, &error) && find ("until") != NULL)
    _exit (0); /* as if killed */
  for (gsize i = 0; i < n_volumes; i++) {
    GError *again = NULL;

    if (cuts[i] == NULL)
      continue;
    if (error != NULL && !snap_driver_qemu.abort (cuts[i], &again))
      fprintf (stderr, "abort: %s\n", again->message);
    snap_driver_qemu.free_cut (cuts[i]);
  }
  return error != NULL ? fail (error) : 0;
}

/* ---- the others ---- */

static const char *const kinds[] = { "snapshot", "live", "backing", "empty",
                                     "checkpoint" };

static int
list (void)
{
  GError *error = NULL;
  g_autoptr (GPtrArray) points = snap_driver_qemu.list (volumes[0], &error);

  for (guint i = 0; points != NULL && i < points->len; i++) {
    const SnapPoint *point = points->pdata[i];

    printf ("%s %s %s %" G_GUINT64_FORMAT "\n", point->name, kinds[point->kind],
            point->id, point->size);
  }
  return error != NULL ? fail (error) : 0;
}

static SnapPoint *
find_point (const char *name, GError **error)
{
  g_autoptr (GPtrArray) points = snap_driver_qemu.list (volumes[0], error);

  for (guint i = 0; points != NULL && i < points->len; i++) {
    const SnapPoint *point = points->pdata[i];

    if (g_str_equal (point->name, name))
      return snap_point_dup (point);
  }
  if (points != NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no such point", name);
  return NULL;
}

static gboolean
print_extent (const SnapExtent *extent, gpointer user_data, GError **error)
{
  printf ("%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %s\n", extent->offset,
          extent->length, (extent->flags & SNAP_EXTENT_ZERO) != 0 ? "z" : "d");
  return TRUE;
}

static int
diff (const char *from, const char *to)
{
  GError *error = NULL;
  g_autoptr (SnapPoint) first = find_point (from, &error);
  g_autoptr (SnapPoint) second = first != NULL ? find_point (to, &error) : NULL;
  SnapDiffInfo info = { 0 };

  if (second != NULL) {
    const SnapDiffRequest request = { .from_volume = volumes[0],
                                      .from = first,
                                      .to_volume = volumes[0],
                                      .to = second,
                                      .length = second->size };

    if (snap_driver_qemu.comparable (&request, &error)
        && snap_driver_qemu.diff (&request, &info, print_extent, NULL, &error))
      printf ("end %" G_GUINT64_FORMAT "\n", info.granularity);
  }
  return error != NULL ? fail (error) : 0;
}

static gboolean
copy (SnapImage *image, int fd, GError **error)
{
  static guint8 buffer[1 << 20];

  for (guint64 at = 0; at < image->size;) {
    gsize length = MIN (sizeof buffer, image->size - at);

    if (!image->ops->read_at (image, at, buffer, length, error)
        || !snap_fd_write_all (fd, buffer, length, error))
      return FALSE;
    at += length;
  }
  return TRUE;
}

static int
read_point (const char *name, const char *path)
{
  GError *error = NULL;
  g_autoptr (SnapPoint) point = find_point (name, &error);
  SnapImage *image = NULL;
  snap_autofd int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  if (point != NULL)
    image = snap_driver_qemu.open_image (volumes[0], point, &error);
  if (image != NULL) {
    copy (image, fd, &error);
    image->ops->close (image);
  }
  return error != NULL ? fail (error) : 0;
}

/* One op on one point of every volume. */
static int
end_point (const char *verb, const char *name, gboolean failed)
{
  GError *error = NULL;
  g_autoptr (SnapPoint) point = find_point (name, &error);

  for (gsize i = 0; point != NULL && error == NULL && i < n_volumes; i++)
    if (g_str_equal (verb, "delete"))
      snap_driver_qemu.remove (volumes[i], point, &error);
    else
      snap_driver_qemu.acknowledge (volumes[i], point, failed, &error);
  return error != NULL ? fail (error) : 0;
}

static int
recover (const char *action, const char *record)
{
  GError *error = NULL;

  snap_driver_qemu.recover (record,
                            g_str_equal (action, "commit") ? SNAP_RECOVER_COMMIT
                                                           : SNAP_RECOVER_ABORT,
                            &error);
  return error != NULL ? fail (error) : 0;
}

int
main (int argc, char **argv)
{
  const char *verb = argc > 3 ? argv[3] : "";
  const char *first = argc > 4 ? argv[4] : "";
  const char *second = argc > 5 ? argv[5] : "";
  GError *error = NULL;

  keys = argv + MIN (argc, 4);
  if (g_str_equal (verb, "recover"))
    return recover (first, second);
  if (argc < 4 || !open_volumes (argv[1], argv[2], &error))
    return argc < 4 ? 2 : fail (error);
  if (g_str_equal (verb, "create"))
    return create (argv[1], first, second);
  if (g_str_equal (verb, "list"))
    return list ();
  if (g_str_equal (verb, "diff"))
    return diff (first, second);
  if (g_str_equal (verb, "read"))
    return read_point (first, second);
  return end_point (verb, first, g_str_equal (second, "failed"));
}
