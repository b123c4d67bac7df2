/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client on a real QEMU, whose monitor NBDSNAP_TEST_QMP names: a guest that
 * has not begun, with the devices that tests/py/test_qmp_qemu.py gives it.
 * The tests go one after another; the last one ends it.
 */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "qmp/disks.h"
#include "qmp/guest.h"
#include "qmp/monitor.h"

#define LONG_MS 60000

static const char *path;

static QmpClient *
connect_client (void)
{
  g_autoptr (GError) error = NULL;
  QmpClient *client = qmp_client_connect (path, LONG_MS, NULL, &error);

  g_assert_no_error (error);
  return client;
}

/* @arguments is JSON with single quotes. */
static JsonNode *
try (QmpClient *client, const char *command, const char *arguments,
     GError **error)
{
  g_autofree char *text = g_strdelimit (g_strdup (arguments), "'", '"');
  g_autoptr (JsonNode) node = json_from_string (text, NULL);

  g_assert_nonnull (node);
  return qmp_client_execute (client, command, json_node_dup_object (node),
                             LONG_MS, error);
}

static void
execute (QmpClient *client, const char *command, const char *arguments)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) answer = try (client, command, arguments, &error);

  g_assert_no_error (error);
}

static void
assert_refused (QmpClient *client, const char *command, const char *arguments,
                int code)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (try (client, command, arguments, &error));
  g_assert_error (error, QMP_ERROR, code);
}

static gboolean
is_named (const char *name, JsonObject *data, gpointer user_data)
{
  return g_str_equal (name, user_data);
}

static void
test_commands_and_events (void)
{
  g_autoptr (QmpClient) client = connect_client ();
  g_autoptr (JsonObject) data = NULL;

  g_assert_cmpuint (qmp_client_version (client), >=, 70000);
  execute (client, "query-qmp-schema", "{}");
  execute (client, "cont", "{}");
  data = qmp_client_wait (client, is_named, (gpointer) "RESUME", LONG_MS, NULL);
  g_assert_nonnull (data);
  assert_refused (client, "nosuch", "{}", QMP_ERROR_NO_COMMAND);
  assert_refused (client, "stop", "{'bogus':1}", QMP_ERROR_COMMAND);
  assert_refused (client, "block-job-cancel", "{'device':'x'}",
                  QMP_ERROR_NOT_ACTIVE);
}

static void
test_everybody_else_is_told_busy (void)
{
  g_autoptr (QmpClient) client = connect_client ();
  g_autoptr (GPtrArray) waiting =
      g_ptr_array_new_with_free_func ((GDestroyNotify) qmp_agent_close);

  for (int i = 0; i < 3; i++) {
    g_autoptr (GError) error = NULL;
    QmpAgent *other;

    g_assert_null (qmp_client_connect (path, 200, NULL, &error));
    g_assert_error (error, QMP_ERROR, QMP_ERROR_BUSY);
    /* Those stay in QEMU's queue until it is full. */
    other = qmp_agent_connect (path, NULL);
    if (other != NULL)
      g_ptr_array_add (waiting, other);
  }
  execute (client, "query-status", "{}");
}

static void
test_a_descriptor_arrives (void)
{
  g_autoptr (QmpClient) client = connect_client ();
  g_autoptr (JsonNode) arguments = json_from_string ("{\"fdset-id\":7}", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) answer = NULL;
  char name[] = "/tmp/nbdsnap-fd-XXXXXX";
  int fd = g_mkstemp (name);

  unlink (name);
  g_assert_cmpint (ftruncate (fd, 65536), ==, 0);
  assert_refused (client, "add-fd", "{'fdset-id':7}", QMP_ERROR_COMMAND);
  answer = qmp_client_execute_with_fds (client, "add-fd",
                                        json_node_dup_object (arguments), &fd,
                                        1, LONG_MS, &error);
  g_assert_no_error (error);
  close (fd);
  execute (client, "blockdev-add",
           "{'driver':'file','node-name':'passed','filename':'/dev/fdset/7'}");
  execute (client, "blockdev-del", "{'node-name':'passed'}");
  execute (client, "remove-fd", "{'fdset-id':7}");
}

static void
assert_disk (QmpClient *client, const char *device, const char *top,
             const char *node, const char *format)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) disks = qmp_disks_list (client, LONG_MS, &error);
  const QmpDisk *disk;

  g_assert_no_error (error);
  disk = qmp_disks_find (disks, device);
  g_assert_nonnull (disk);
  g_assert_cmpstr (disk->device, ==, device);
  g_assert_cmpstr (disk->format, ==, format);
  g_assert_cmpstr (disk->protocol, ==, "file");
  if (top != NULL)
    g_assert_cmpstr (disk->top, ==, top);
  if (node != NULL)
    g_assert_cmpstr (disk->node, ==, node);
}

static void
test_disks_are_listed (void)
{
  g_autoptr (QmpClient) client = connect_client ();
  g_autoptr (GPtrArray) disks = NULL;
  const QmpDisk *disk;

  execute (client, "block-dirty-bitmap-add",
           "{'node':'fmt-a','name':'cp0','persistent':true}");
  assert_disk (client, "va", "fmt-a", "fmt-a", "qcow2");
  assert_disk (client, "fmt-b", "fmt-b", "fmt-b", "raw");
  assert_disk (client, "dd", NULL, NULL, "qcow2");
  assert_disk (client, "vc", "prot-c", "prot-c", "raw");
  disks = qmp_disks_list (client, LONG_MS, NULL);
  g_assert_cmpuint (disks->len, ==, 4); /* and the drive that is empty */
  disk = qmp_disks_find (disks, "va");
  g_assert_cmpuint (disk->size, ==, 16 << 20);
  g_assert_true (disk->has_backing);
  g_assert_cmpstr (strrchr (disk->filename, '/'), ==, "/a.qcow2");
  g_assert_cmpuint (disk->bitmaps->len, ==, 1);
  g_assert_true (((QmpBitmap *) disk->bitmaps->pdata[0])->persistent);
  g_assert_false (((QmpDisk *) qmp_disks_find (disks, "fmt-b"))->has_backing);
}

static void
test_disks_are_found_below_filters (void)
{
  g_autoptr (QmpClient) client = connect_client ();

  execute (client, "stop", "{}");
  execute (client, "blockdev-add",
           "{'driver':'qcow2','node-name':'tmp-a',"
           "'file':{'driver':'file','filename':'t.qcow2'}}");
  execute (client, "blockdev-add",
           "{'driver':'copy-before-write','node-name':'ns-cbw',"
           "'file':'fmt-a','target':'tmp-a'}");
  execute (client, "qom-set",
           "{'path':'/machine/peripheral/va','property':'drive',"
           "'value':'ns-cbw'}");
  assert_disk (client, "va", "ns-cbw", "fmt-a", "qcow2");
  execute (client, "blockdev-add",
           "{'driver':'snapshot-access','node-name':'acc','file':'ns-cbw'}");
  assert_disk (client, "va", "ns-cbw", "fmt-a", "qcow2");
  execute (client, "cont", "{}");
  assert_disk (client, "va", "ns-cbw", "fmt-a", "qcow2");
  execute (client, "blockdev-del", "{'node-name':'acc'}");
  execute (client, "qom-set",
           "{'path':'/machine/peripheral/va','property':'drive',"
           "'value':'fmt-a'}");
  execute (client, "blockdev-del", "{'node-name':'ns-cbw'}");
  execute (client, "blockdev-del", "{'node-name':'tmp-a'}");
  assert_disk (client, "va", "fmt-a", "fmt-a", "qcow2");
}

/* The job puts a filter of its own over the node. */
static void
test_disks_are_found_below_a_job (void)
{
  g_autoptr (QmpClient) client = connect_client ();

  execute (client, "blockdev-add",
           "{'driver':'qcow2','node-name':'fl-a','backing':'fmt-a',"
           "'file':{'driver':'file','filename':'t.qcow2'}}");
  execute (client, "blockdev-backup",
           "{'job-id':'bk','device':'fmt-a','target':'fl-a','sync':'none',"
           "'auto-dismiss':false}");
  assert_disk (client, "va", NULL, "fmt-a", "qcow2");
  execute (client, "job-cancel", "{'id':'bk'}");
  while (qmp_client_wait (client, is_named, (gpointer) "BLOCK_JOB_CANCELLED",
                          LONG_MS, NULL)
         == NULL)
    ;
  execute (client, "job-dismiss", "{'id':'bk'}");
  execute (client, "blockdev-del", "{'node-name':'fl-a'}");
}

static void
test_half_a_command_is_made_void (void)
{
  static const char *const halves[] = {
    "{\"execute\":\"quit\"",
    "{\"execute\":\"quit\",\"id\":\"x",
    "{\"execute\":\"quit\",\"id\":\"\\",
    "{\"execute\":\"query-qmp-schema\"}\n{\"execute\":[{",
  };

  for (gsize i = 0; i < G_N_ELEMENTS (halves); i++) {
    g_autoptr (QmpClient) client = connect_client ();
    int fd = dup (qmp_client_fd (client));
    g_autoptr (QmpClient) heir = NULL;

    g_assert_cmpint (write (fd, halves[i], strlen (halves[i])), >, 0);
    heir = qmp_client_adopt (fd);
    execute (heir, "query-status", "{}");
    execute (heir, "query-status", "{}");
    qmp_client_resume (client);
    execute (client, "query-status", "{}");
  }
}

static void
test_a_stopped_guest_is_released (void)
{
  g_autoptr (QmpMonitor) monitor = qmp_monitor_ref (path, NULL);
  g_autoptr (QmpGuest) guest =
      qmp_guest_new (qmp_monitor_client (monitor), NULL);
  QmpGuestState state;

  g_assert_true (guest->ops->stop (guest, LONG_MS, NULL));
  g_assert_true (guest->ops->state (guest, LONG_MS, &state, NULL));
  g_assert_cmpint (state, ==, QMP_GUEST_PAUSED);
  g_assert_true (qmp_guest_release (guest, QMP_QUIET_STOPPED, LONG_MS, NULL));
  g_assert_true (guest->ops->state (guest, LONG_MS, &state, NULL));
  g_assert_cmpint (state, ==, QMP_GUEST_RUNNING);
}

static void
test_its_end_is_told (void)
{
  g_autoptr (QmpClient) client = connect_client ();
  g_autoptr (QmpGuest) guest = qmp_guest_new (client, NULL);
  g_autoptr (JsonObject) data = NULL;

  execute (client, "quit", "{}");
  data =
      qmp_client_wait (client, is_named, (gpointer) "SHUTDOWN", LONG_MS, NULL);
  g_assert_nonnull (data);
  assert_refused (client, "query-status", "{}", QMP_ERROR_GONE);
  g_assert_true (qmp_guest_release (guest, QMP_QUIET_STOPPED, LONG_MS, NULL));
}

int
main (int argc, char **argv)
{
  path = g_getenv ("NBDSNAP_TEST_QMP");
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/qmp/qemu/" name, func)
  ADD ("commands-and-events", test_commands_and_events);
  ADD ("everybody-else-is-told-busy", test_everybody_else_is_told_busy);
  ADD ("a-descriptor-arrives", test_a_descriptor_arrives);
  ADD ("disks-are-listed", test_disks_are_listed);
  ADD ("disks-are-found-below-filters", test_disks_are_found_below_filters);
  ADD ("disks-are-found-below-a-job", test_disks_are_found_below_a_job);
  ADD ("half-a-command-is-made-void", test_half_a_command_is_made_void);
  ADD ("a-stopped-guest-is-released", test_a_stopped_guest_is_released);
  ADD ("its-end-is-told", test_its_end_is_told);
#undef ADD
  return g_test_run ();
}
