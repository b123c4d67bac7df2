/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/lvm-report.h"

#define REPORT(rows) "{\"report\":[{\"lv\":[" rows "]}]}"

#define POOL                                                      \
  "{\"lv_name\":\"pool\",\"lv_uuid\":\"p-1\",\"vg_name\":\"vg\"," \
  "\"lv_size\":\"419430400\",\"segtype\":\"thin-pool\","          \
  "\"metadata_lv\":\"[pool_tmeta]\",\"chunk_size\":\"65536\","    \
  "\"data_percent\":\"12.50\",\"metadata_percent\":\"11.08\","    \
  "\"lv_active\":\"active\",\"thin_id\":\"\",\"lv_tags\":\"\","   \
  "\"transaction_id\":\"17\","                                    \
  "\"lv_permissions\":\"writeable\",\"vg_free\":\"1048576\"}"

#define SNAPSHOT                                                           \
  "{\"lv_name\":\"[s]\",\"lv_uuid\":\"s-1\",\"vg_name\":\"vg\","           \
  "\"lv_size\":\"1048576\",\"segtype\":\"thin\",\"thin_id\":\"16777215\"," \
  "\"origin\":\"v\",\"origin_uuid\":\"v-1\",\"pool_lv\":\"pool\","         \
  "\"pool_lv_uuid\":\"p-1\",\"lv_time\":\"1700000000\","                   \
  "\"data_percent\":\"\",\"lv_permissions\":\"read-only\","                \
  "\"lv_tags\":\"a,nbdsnap.set=42,nbdsnap.settle=7\",\"lv_active\":\"\"}"

static GPtrArray *
parse (const char *json)
{
  g_autoptr (GError) error = NULL;
  GPtrArray *volumes = snap_lvm_report_parse (json, "lvs", &error);

  g_assert_no_error (error);
  return volumes;
}

static void
test_reads_every_field (void)
{
  g_autoptr (GPtrArray) volumes = parse (REPORT (POOL "," SNAPSHOT));
  const SnapLvmVolume *pool = snap_lvm_report_by_name (volumes, "vg", "pool");
  const SnapLvmVolume *snapshot = snap_lvm_report_by_uuid (volumes, "s-1");

  g_assert_cmpuint (volumes->len, ==, 2);
  g_assert_cmpstr (pool->metadata_lv, ==, "pool_tmeta");
  g_assert_cmpuint (pool->chunk_size, ==, 65536);
  g_assert_cmpuint (pool->thin_id, ==, 0);
  g_assert_cmpuint (pool->transaction_id, ==, 17);
  g_assert_cmpuint (pool->vg_free, ==, 1048576);
  g_assert_cmpfloat (pool->metadata_percent, ==, 11.08);
  g_assert_true (pool->active && pool->writeable);
  g_assert_null (pool->health);

  g_assert_cmpstr (snapshot->name, ==, "s");
  g_assert_cmpuint (snapshot->thin_id, ==, 16777215);
  g_assert_cmpuint (snapshot->size, ==, 1048576);
  g_assert_cmpint (snapshot->time_us, ==,
                   G_GINT64_CONSTANT (1700000000) * G_USEC_PER_SEC);
  g_assert_cmpfloat (snapshot->data_percent, ==, -1);
  g_assert_false (snapshot->active || snapshot->writeable);
  g_assert_cmpstr (snap_lvm_volume_tag (snapshot, "nbdsnap.set"), ==, "42");
  g_assert_null (snap_lvm_volume_tag (snapshot, "nbdsnap"));
}

static void
test_a_volume_of_several_segments_is_one (void)
{
  g_autoptr (GPtrArray) volumes = parse (REPORT (POOL "," POOL));

  g_assert_cmpuint (volumes->len, ==, 1);
}

static void
test_no_volumes_are_no_error (void)
{
  g_autoptr (GPtrArray) volumes = parse (REPORT (""));

  g_assert_cmpuint (volumes->len, ==, 0);
  g_assert_null (snap_lvm_report_by_uuid (volumes, "x"));
}

static void
test_refuses_what_is_no_report (void)
{
  static const char *const bad[] = {
    "",
    "[]",
    "{}",
    "{\"report\":[]}",
    "{\"report\":{}}",
    "{\"report\":[{\"lv\":{}}]}",
    REPORT ("1"),
    REPORT ("{}"),
    REPORT ("{\"lv_name\":\"a\",\"vg_name\":\"vg\"}"),
    REPORT ("{\"lv_name\":\"a\",\"vg_name\":\"vg\",\"lv_uuid\":1}"),
    REPORT ("{\"lv_name\":\"a\",\"vg_name\":\"vg\",\"lv_uuid\":\"u\","
            "\"lv_size\":\"4.00m\"}"),
    REPORT ("{\"lv_name\":\"a\",\"vg_name\":\"vg\",\"lv_uuid\":\"u\","
            "\"thin_id\":\"16777216\"}"),
    REPORT ("{\"lv_name\":\"a\",\"vg_name\":\"vg\",\"lv_uuid\":\"u\","
            "\"data_percent\":\"101\"}"),
  };

  for (gsize i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (snap_lvm_report_parse (bad[i], "lvs", &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
    g_assert_true (g_str_has_prefix (error->message, "lvs: "));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/lvm-report/reads-every-field", test_reads_every_field);
  g_test_add_func ("/lvm-report/a-volume-of-several-segments-is-one",
                   test_a_volume_of_several_segments_is_one);
  g_test_add_func ("/lvm-report/no-volumes-are-no-error",
                   test_no_volumes_are_no_error);
  g_test_add_func ("/lvm-report/refuses-what-is-no-report",
                   test_refuses_what_is_no_report);
  return g_test_run ();
}
