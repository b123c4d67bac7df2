/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract suite on disks of a running QEMU.  Not part of the unit tests:
 * it needs a directory, in $NBDSNAP_TEST_QEMU, with the sockets "qmp", for the
 * driver, and "qmp-test", for us, of a QEMU with a SCSI controller "scsi" whose
 * guest does not run.  Each volume is a disk that is plugged in.
 *
 * QEMU resizes no disk with a snapshot: so none is.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "qmp/client.h"
#include "qmp/json.h"
#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/command.h"
#include "tests/unit/contract.h"

#define SIZE (2 * 1024 * 1024)
#define FORMAT "qcow2"

/* How long what QEMU does by and by may take. */
#define PATIENCE_MS 60000

typedef struct {
  char *name; /* of the device */
  char *node;
  char *path;
} Volume;

static QmpClient *monitor;
static char *driver_socket;
static char *away_socket;

static void
run (const char *const *argv)
{
  GError *error = NULL;

  snap_command_run (argv, NULL, NULL, &error);
  g_assert_no_error (error);
}

/* ---- QEMU ---- */

/* Takes @arguments. */
static JsonNode *
ask (const char *command, JsonObject *arguments)
{
  GError *error = NULL;
  JsonNode *answer =
      qmp_client_execute (monitor, command, arguments, PATIENCE_MS, &error);

  g_assert_no_error (error);
  return answer;
}

static void
tell (const char *command, JsonObject *arguments)
{
  json_node_unref (ask (command, arguments));
}

static JsonObject *
object (const char *member, const char *value)
{
  JsonObject *made = json_object_new ();

  json_object_set_string_member (made, member, value);
  return made;
}

static void
add_node (const Volume *self)
{
  JsonObject *node = object ("driver", FORMAT);
  JsonObject *file = object ("driver", "file");

  json_object_set_string_member (file, "filename", self->path);
  json_object_set_string_member (file, "discard", "unmap");
  json_object_set_string_member (node, "node-name", self->node);
  json_object_set_string_member (node, "discard", "unmap");
  json_object_set_object_member (node, "file", file);
  tell ("blockdev-add", node);
}

static void
plug_in (const Volume *self)
{
  JsonObject *device = object ("driver", "scsi-hd");

  json_object_set_string_member (device, "bus", "scsi.0");
  json_object_set_string_member (device, "id", self->name);
  json_object_set_string_member (device, "drive", self->node);
  tell ("device_add", device);
}

static gboolean
is_deletion (const char *name, JsonObject *data, gpointer device)
{
  return g_str_equal (name, "DEVICE_DELETED")
         && g_strcmp0 (qmp_json_string (data, "device"), device) == 0;
}

static void
unplug (const Volume *self)
{
  GError *error = NULL;

  tell ("device_del", object ("id", self->name));
  json_object_unref (
      qmp_client_wait (monitor, is_deletion, self->name, PATIENCE_MS, &error));
  g_assert_no_error (error);
}

/* The device lets go of it a moment after it is gone; what a test has left,
   never. */
static void
remove_node (const Volume *self)
{
  for (int tries = 0; tries < 20; tries++) {
    g_autoptr (JsonNode) answer = qmp_client_execute (
        monitor, "blockdev-del", object ("node-name", self->node), PATIENCE_MS,
        NULL);

    if (answer != NULL)
      return;
    g_usleep (10000);
  }
}

/* ---- making and removing ---- */

static gpointer
setup (void)
{
  static guint n_volumes;
  Volume *self = g_new0 (Volume, 1);
  g_autofree char *size = g_strdup_printf ("%d", SIZE);

  self->name = g_strdup_printf ("d%u", n_volumes++);
  self->node = g_strconcat ("fmt-", self->name, NULL);
  self->path = g_strconcat (driver_socket, "-", self->name, NULL);
  run ((const char *[]){ "qemu-img", "create", "-q", "-f", FORMAT, self->path,
                         size, NULL });
  add_node (self);
  plug_in (self);
  return self;
}

/* Its snapshots first: QEMU removes nothing that is in use. */
static void
delete_all (const Volume *self)
{
  const SnapOpenOptions options = { .mode = SNAP_OPEN_MANAGE };
  SnapVolume *volume =
      snap_driver_qemu.open (driver_socket, self->name, &options, NULL);
  g_autoptr (GPtrArray) points = snap_driver_qemu.list (volume, NULL);

  for (guint i = points->len; i-- > 0;)
    snap_driver_qemu.remove (volume, points->pdata[i], NULL);
  snap_driver_qemu.close (volume);
}

static void
teardown (gpointer volume)
{
  Volume *self = volume;

  delete_all (self);
  unplug (self);
  remove_node (self);
  unlink (self->path);
  g_free (self->name);
  g_free (self->node);
  g_free (self->path);
  g_free (self);
}

static const char *
location (gpointer volume)
{
  return driver_socket;
}

static const char *
part (gpointer volume)
{
  return ((Volume *) volume)->name;
}

static void
take_away (gpointer volume)
{
  g_assert_cmpint (rename (driver_socket, away_socket), ==, 0);
}

static void
bring_back (gpointer volume)
{
  g_assert_cmpint (rename (away_socket, driver_socket), ==, 0);
}

/* ---- changing ---- */

/* As the device would do it, through all filters. */
static void
change (const Volume *self, const char *command)
{
  g_autofree char *line =
      g_strdup_printf ("qemu-io -d %s \"%s\"", self->name, command);
  g_autoptr (JsonNode) answer =
      ask ("human-monitor-command", object ("command-line", line));

  g_assert_cmpstr (json_node_get_string (answer), ==, "");
}

static void
fill (gpointer volume, guint64 offset, guint64 length, guint8 byte)
{
  g_autofree char *command = g_strdup_printf (
      "write -q -P %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, byte, offset,
      length);

  change (volume, command);
}

static void
zero (gpointer volume, guint64 offset, guint64 length)
{
  g_autofree char *command = g_strdup_printf (
      "write -q -z %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, offset, length);

  change (volume, command);
}

static void
discard (gpointer volume, guint64 offset, guint64 length)
{
  g_autofree char *command = g_strdup_printf (
      "discard -q %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, offset, length);

  change (volume, command);
}

/* From its file, where all of it is after a flush. */
static GBytes *
contents (gpointer volume)
{
  const Volume *self = volume;
  g_autofree char *raw = g_strconcat (self->path, ".raw", NULL);
  char *data;
  gsize length;
  GError *error = NULL;

  change (self, "flush");
  run ((const char *[]){ "qemu-img", "convert", "-U", "-f", FORMAT, "-O", "raw",
                         self->path, raw, NULL });
  g_file_get_contents (raw, &data, &length, &error);
  g_assert_no_error (error);
  unlink (raw);
  return g_bytes_new_take (data, length);
}

/* ---- looking behind the driver's back ---- */

static guint
count_bitmaps (JsonObject *node)
{
  JsonArray *list = qmp_json_array (node, "dirty-bitmaps");
  guint n = 0;

  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
    const char *name =
        qmp_json_string (json_array_get_object_element (list, i), "name");

    n += name != NULL && strstr (name, ".nbdsnap-") != NULL;
  }
  return n;
}

/* Elements of what @command lists whose member @key is a name of ours, and
   their bitmaps. */
static guint
count_ours (const char *command, const char *key)
{
  g_autoptr (JsonNode) answer = ask (command, NULL);
  JsonArray *list = json_node_get_array (answer);
  guint n = 0;

  for (guint i = 0; i < json_array_get_length (list); i++) {
    JsonObject *element = json_array_get_object_element (list, i);
    const char *name = qmp_json_string (element, key);

    n += name != NULL && g_str_has_prefix (name, "ns-");
    n += count_bitmaps (element);
  }
  return n;
}

static guint
n_traces (gpointer volume)
{
  g_autofree char *socket = g_strconcat (driver_socket, ".nbdsnap", NULL);

  return count_ours ("query-named-block-nodes", "node-name")
         + count_ours ("query-jobs", "id")
         + count_ours ("query-block-exports", "id")
         + g_file_test (socket, G_FILE_TEST_EXISTS);
}

static const ContractStorage template = {
  .driver = &snap_driver_qemu,
  .size = SIZE,
  .unit = 512,
  .n_rounds = 1, /* test_qemu_history.py has more */
  .setup = setup,
  .teardown = teardown,
  .location = location,
  .part = part,
  .write = fill,
  .zero = zero,
  .discard = discard,
  .contents = contents,
  .n_traces = n_traces,
  .take_away = take_away,
  .bring_back = bring_back,
};

int
main (int argc, char **argv)
{
  static ContractStorage fleece;
  static ContractStorage filter;
  const char *folder = g_getenv ("NBDSNAP_TEST_QEMU");
  g_autofree char *test_socket = NULL;
  GError *error = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  g_assert_nonnull (folder);
  driver_socket = g_build_filename (folder, "qmp", NULL);
  away_socket = g_build_filename (folder, "away", NULL);
  test_socket = g_build_filename (folder, "qmp-test", NULL);
  monitor = qmp_client_connect (test_socket, PATIENCE_MS, NULL, &error);
  g_assert_no_error (error);

  fleece = filter = template;
  fleece.options.mechanism = "fleece";
  filter.options.mechanism = "cbw";
  filter.options.quiesce = SNAP_QUIESCE_PAUSE;
  contract_add_tests ("qemu-fleece", &fleece);
  contract_add_tests ("qemu-filter", &filter);
  result = g_test_run ();
  qmp_client_close (monitor);
  return result;
}
