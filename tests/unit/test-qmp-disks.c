/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>

#include "qmp/disks.h"

/* ---- what QEMU would say, made of few words ---- */

/* Items begin with a comma. */
#define NODE(name, drv, file, more)                                   \
  ",{\"node-name\":\"" name "\",\"drv\":\"" drv "\",\"file\":\"" file \
  "\",\"ro\":false,\"encrypted\":false,\"backing_file_depth\":0,"     \
  "\"image\":{\"virtual-size\":1048576}" more "}"

#define DEVICE(device, qdev, node)                                         \
  ",{\"device\":\"" device "\",\"qdev\":\"" qdev "\",\"removable\":false," \
  "\"inserted\":{\"node-name\":\"" node "\",\"ro\":true}}"

#define STAT(name, below) "{\"node-name\":\"" name "\",\"stats\":{}" below "}"
#define TOLD(stat) "[" stat "]"
#define LEAF(name) STAT (name, "")
#define OVER(name, child) STAT (name, ",\"parent\":" child)

/* Of items that begin with a comma each; else it is meant as it stands. */
static JsonNode *
list (const char *text)
{
  g_autofree char *items = g_strdup_printf ("[%s]", text + 1);

  return json_from_string (*text == ',' ? items : text, NULL);
}

static GPtrArray *
parse (const char *block, const char *nodes, const char *stats, GError **error)
{
  g_autoptr (JsonNode) b = list (block);
  g_autoptr (JsonNode) n = list (nodes);
  g_autoptr (JsonNode) s = list (stats);

  g_assert_true (b != NULL && n != NULL && s != NULL);
  return qmp_disks_parse (b, n, s, error);
}

static QmpDisk *
only (GPtrArray *disks)
{
  g_assert_nonnull (disks);
  g_assert_cmpuint (disks->len, ==, 1);
  return g_ptr_array_index (disks, 0);
}

static void
assert_layers (const QmpDisk *disk, const char *top, const char *node,
               const char *format, const char *protocol, const char *filename)
{
  g_assert_cmpstr (disk->top, ==, top);
  g_assert_cmpstr (disk->node, ==, node);
  g_assert_cmpstr (disk->format, ==, format);
  g_assert_cmpstr (disk->protocol, ==, protocol);
  g_assert_cmpstr (disk->filename, ==, filename);
}

/* ---- layers ---- */

static void
test_a_format_lies_on_a_protocol (void)
{
  g_autoptr (GPtrArray) disks =
      parse (DEVICE ("", "/machine/peripheral/va/virtio-backend", "fmt"),
             NODE ("fmt", "qcow2", "a.qcow2", "")
                 NODE ("prot", "file", "/v/a.qcow2", ""),
             TOLD (OVER ("fmt", LEAF ("prot"))), NULL);
  const QmpDisk *disk = only (disks);

  assert_layers (disk, "fmt", "fmt", "qcow2", "file", "/v/a.qcow2");
  g_assert_cmpstr (disk->device, ==, "va");
  g_assert_cmpstr (disk->qdev, ==, "/machine/peripheral/va/virtio-backend");
  g_assert_null (disk->drive);
  g_assert_cmpuint (disk->size, ==, 1048576);
  g_assert_true (disk->read_only);
  g_assert_false (disk->has_backing);
  g_assert_cmpuint (disk->bitmaps->len, ==, 0);
}

/* With the scratch file of the filter, which says the same file or another. */
static void
test_filters_are_looked_through (void)
{
  g_autoptr (GPtrArray) disks = parse (
      DEVICE ("", "va", "thr"),
      NODE ("thr", "throttle", "a", "") NODE ("cbw", "copy-before-write", "a",
                                              "") NODE ("tmp", "qcow2", "a", "")
          NODE ("fmt", "qcow2", "a", "") NODE ("prot", "host_device", "a", ""),
      TOLD (OVER ("thr", OVER ("cbw", OVER ("fmt", LEAF ("prot"))))), NULL);

  assert_layers (only (disks), "thr", "fmt", "qcow2", "host_device", "a");
}

static void
test_a_format_may_lie_on_a_format (void)
{
  g_autoptr (GPtrArray) disks =
      parse (DEVICE ("", "va", "top"),
             NODE ("top", "raw", "a", "") NODE ("mid", "luks", "a", "")
                 NODE ("low", "nbd", "nbd://a", ""),
             TOLD (OVER ("top", OVER ("mid", LEAF ("low")))), NULL);

  assert_layers (only (disks), "top", "top", "raw", "nbd", "nbd://a");
}

static void
test_a_protocol_alone_is_raw (void)
{
  g_autoptr (GPtrArray) disks = parse (
      DEVICE ("", "va", "prot"), NODE ("prot", "host_device", "/dev/a", ""),
      TOLD (LEAF ("prot")), NULL);

  assert_layers (only (disks), "prot", "prot", "raw", "host_device", "/dev/a");
}

/* Its bytes would pass for the guest's. */
static void
test_a_format_without_a_protocol_is_not_raw (void)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (parse (DEVICE ("", "va", "fmt"),
                        NODE ("fmt", "qcow2", "a", ""), "[]", &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
}

static void
test_a_filter_over_nothing_stays_one (void)
{
  g_autoptr (GPtrArray) disks = parse (
      DEVICE ("", "va", "cbw"), NODE ("cbw", "copy-before-write", "a", ""),
      TOLD (LEAF ("cbw")), NULL);

  assert_layers (only (disks), "cbw", "cbw", "copy-before-write",
                 "copy-before-write", "a");
}

static void
test_circles_come_to_an_end (void)
{
  g_autoptr (GPtrArray) disks = parse (
      DEVICE ("", "va", "a"),
      NODE ("a", "throttle", "f", "") NODE ("b", "throttle", "f", ""),
      TOLD (OVER ("a", OVER ("b", LEAF ("a"))) "," OVER ("b", LEAF ("a"))),
      NULL);

  only (disks);
}

/* ---- names ---- */

static const char names_nodes[] =
    NODE ("fmt", "raw", "a", "") NODE ("prot", "file", "a", "");
static const char names_stats[] = TOLD (OVER ("fmt", LEAF ("prot")));

static void
assert_called (const char *block, const char *device, const char *drive)
{
  g_autoptr (GPtrArray) disks = parse (block, names_nodes, names_stats, NULL);
  const QmpDisk *disk = only (disks);

  g_assert_cmpstr (disk->device, ==, device);
  g_assert_cmpstr (disk->drive, ==, drive);
}

static void
test_a_disk_has_the_nearest_name (void)
{
  assert_called (DEVICE ("", "/machine/peripheral/va", "fmt"), "va", NULL);
  assert_called (DEVICE ("d0", "/machine/peripheral/va/x/y", "fmt"), "va",
                 "d0");
  assert_called (DEVICE ("", "sd0", "fmt"), "sd0", NULL);
  assert_called (DEVICE ("d0", "/machine/peripheral-anon/device[1]", "fmt"),
                 "d0", "d0");
  assert_called (DEVICE ("", "/machine/peripheral-anon/device[1]", "fmt"),
                 "fmt", NULL);
  assert_called ("[{\"device\":\"d1\",\"inserted\":{\"node-name\":\"fmt\"}}]",
                 "d1", "d1");
}

static void
test_a_device_is_found_before_a_node (void)
{
  g_autoptr (GPtrArray) disks = parse (
      DEVICE ("", "x", "fmt") DEVICE ("d", "fmt", "other"),
      NODE ("fmt", "raw", "a", "") NODE ("other", "raw", "b", "")
          NODE ("prot", "file", "a", ""),
      TOLD (OVER ("fmt", LEAF ("prot")) "," OVER ("other", LEAF ("prot"))),
      NULL);

  g_assert_true (qmp_disks_find (disks, "fmt") == disks->pdata[1]);
  g_assert_true (qmp_disks_find (disks, "x") == disks->pdata[0]);
  g_assert_true (qmp_disks_find (disks, "d") == disks->pdata[1]);
  g_assert_true (qmp_disks_find (disks, "other") == disks->pdata[1]);
  g_assert_null (qmp_disks_find (disks, "prot"));
  g_assert_null (qmp_disks_find (disks, ""));
}

static void
test_an_empty_drive_is_no_disk (void)
{
  g_autoptr (GPtrArray) disks =
      parse ("[{\"device\":\"cd0\",\"removable\":true,\"qdev\":\"x\"}]", "[]",
             "[{\"device\":\"cd0\",\"stats\":{}}]", NULL);

  g_assert_nonnull (disks);
  g_assert_cmpuint (disks->len, ==, 0);
}

/* ---- bitmaps ---- */

static void
test_bitmaps_are_of_the_format (void)
{
  g_autoptr (GPtrArray) disks =
      parse (DEVICE ("", "va", "cbw"),
             NODE ("cbw", "copy-before-write", "a",
                   ",\"dirty-bitmaps\":[{\"name\":"
                   "\"no\"}]") NODE ("fmt", "qcow2", "a",
                                     ",\"backing_"
                                     "file\":\"b\","
                                     "\"dirty-"
                                     "bitmaps\":[{"
                                     "\"granularity"
                                     "\":512},"
                                     "{\"name\":"
                                     "\"one\","
                                     "\"granularity"
                                     "\":65536,"
                                     "\"recording\":"
                                     "true,"
                                     "\"persistent\""
                                     ":true,"
                                     "\"busy\":"
                                     "false},{"
                                     "\"name\":"
                                     "\"two\","
                                     "\"granularity"
                                     "\":-1,"
                                     "\"inconsistent"
                                     "\":true,"
                                     "\"busy\":true}"
                                     ",7]") NODE ("prot", "file", "a", ""),
             TOLD (OVER ("cbw", OVER ("fmt", LEAF ("prot")))), NULL);
  const QmpDisk *disk = only (disks);
  const QmpBitmap *one, *two;

  g_assert_true (disk->has_backing);
  g_assert_cmpuint (disk->bitmaps->len, ==, 2);
  one = g_ptr_array_index (disk->bitmaps, 0);
  two = g_ptr_array_index (disk->bitmaps, 1);
  g_assert_cmpstr (one->name, ==, "one");
  g_assert_cmpuint (one->granularity, ==, 65536);
  g_assert_true (one->recording && one->persistent);
  g_assert_false (one->inconsistent || one->busy);
  g_assert_cmpstr (two->name, ==, "two");
  g_assert_cmpuint (two->granularity, ==, 0);
  g_assert_true (two->inconsistent && two->busy);
  g_assert_false (two->recording || two->persistent);
}

/* ---- what is refused ---- */

static void
test_odd_answers_are_refused (void)
{
  static const char *const rows[][3] = {
    { "{}", "[]", "[]" },
    { "[]", "{}", "[]" },
    { "[]", "[]", "1" },
    { "[1]", "[]", "[]" },
    { "[]", "[[]]", "[]" },
    { "[{\"inserted\":{}}]", names_nodes, names_stats },
    { "[{\"inserted\":{\"node-name\":7}}]", names_nodes, names_stats },
    { DEVICE ("", "va", "gone"), names_nodes, names_stats },
    { DEVICE ("", "va", "fmt"), names_nodes,
      TOLD (OVER ("fmt", LEAF ("gone"))) },
    { DEVICE ("", "va", "a"),
      "[{\"node-name\":\"a\",\"drv\":\"file\",\"file\":\"a\"}]",
      TOLD (LEAF ("a")) },
    { DEVICE ("", "va", "a"),
      "[{\"node-name\":\"a\",\"drv\":\"file\",\"file\":\"a\","
      "\"image\":{\"virtual-size\":-1}}]",
      TOLD (LEAF ("a")) },
    { DEVICE ("", "va", "a"),
      "[{\"node-name\":\"a\",\"file\":\"a\",\"image\":{\"virtual-size\":1}}]",
      TOLD (LEAF ("a")) },
    { DEVICE ("", "va", "a"),
      "[{\"node-name\":\"a\",\"drv\":\"file\",\"image\":"
      "{\"virtual-size\":1}}]",
      TOLD (LEAF ("a")) },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (parse (rows[i][0], rows[i][1], rows[i][2], &error));
    g_assert_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/qmp/disks/" name, func)
  ADD ("a-format-lies-on-a-protocol", test_a_format_lies_on_a_protocol);
  ADD ("filters-are-looked-through", test_filters_are_looked_through);
  ADD ("a-format-may-lie-on-a-format", test_a_format_may_lie_on_a_format);
  ADD ("a-protocol-alone-is-raw", test_a_protocol_alone_is_raw);
  ADD ("a-format-without-a-protocol-is-not-raw",
       test_a_format_without_a_protocol_is_not_raw);
  ADD ("a-filter-over-nothing-stays-one", test_a_filter_over_nothing_stays_one);
  ADD ("circles-come-to-an-end", test_circles_come_to_an_end);
  ADD ("a-disk-has-the-nearest-name", test_a_disk_has_the_nearest_name);
  ADD ("a-device-is-found-before-a-node", test_a_device_is_found_before_a_node);
  ADD ("an-empty-drive-is-no-disk", test_an_empty_drive_is_no_disk);
  ADD ("bitmaps-are-of-the-format", test_bitmaps_are_of_the_format);
  ADD ("odd-answers-are-refused", test_odd_answers_are_refused);
#undef ADD
  return g_test_run ();
}
