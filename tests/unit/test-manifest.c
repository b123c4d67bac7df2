/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/manifest.h"

#include <string.h>

#include "snapshot-core/base/error.h"

static SnapManifest *
example (SnapManifestKind kind)
{
  SnapManifest *self = snap_manifest_new (
      kind, "0123456789abcdef", kind == SNAP_MANIFEST_DELETE ? NULL : "mon");
  SnapManifestMember *member =
      snap_manifest_add (self, "qcow2", "/srv/\xff\"{[%}]\n\xc3\xa4.qcow2");

  member->part = g_strdup ("drive0");
  member->volume_id = g_strdup ("8:1:77");
  if (kind == SNAP_MANIFEST_CREATE)
    member->record = g_strdup ("{\"a\":[1,{\"b\":\"c\\\\\"}]}");
  if (kind == SNAP_MANIFEST_DELETE) {
    member->point = g_strdup ("");
    member->point_id = g_strdup ("1/2.3");
    member->handle = g_strdup ("mon.x");
    member->point_set = g_strdup ("fedcba9876543210");
  }
  member = snap_manifest_add (self, "lvm", "vg0/data");
  member->record = g_strdup ("r");
  member->point_id = g_strdup ("2");
  self->atomic = TRUE;
  self->window_us = 1234;
  self->guest = (SnapManifestGuest){ g_strdup ("/run/vm 1.qmp"),
                                     g_strdup ("/run/\xff.qga"),
                                     SNAP_QUIESCE_AGENT, 77, 1001 };
  return self;
}

static void
assert_same_member (const SnapManifestMember *a, const SnapManifestMember *b)
{
  g_assert_cmpstr (a->driver, ==, b->driver);
  g_assert_cmpstr (a->location, ==, b->location);
  g_assert_cmpstr (a->part, ==, b->part);
  g_assert_cmpstr (a->volume_id, ==, b->volume_id);
  g_assert_cmpstr (a->record, ==, b->record);
  g_assert_cmpstr (a->point, ==, b->point);
  g_assert_cmpstr (a->point_id, ==, b->point_id);
  g_assert_cmpstr (a->handle, ==, b->handle);
  g_assert_cmpstr (a->point_set, ==, b->point_set);
}

static void
assert_same_guest (const SnapManifestGuest *a, const SnapManifestGuest *b)
{
  g_assert_cmpstr (a->monitor, ==, b->monitor);
  g_assert_cmpstr (a->agent, ==, b->agent);
  g_assert_cmpint (a->quiesce, ==, b->quiesce);
  g_assert_cmpuint (a->stopped_us, ==, b->stopped_us);
  g_assert_cmpuint (a->frozen_us, ==, b->frozen_us);
}

static void
test_reads_back_what_it_wrote (void)
{
  for (int kind = SNAP_MANIFEST_SET; kind <= SNAP_MANIFEST_DELETE; kind++) {
    g_autoptr (SnapManifest) self = example (kind);
    g_autofree char *text = snap_manifest_format (self);
    GError *error = NULL;
    g_autoptr (SnapManifest) back = snap_manifest_parse (text, "t", &error);

    g_assert_no_error (error);
    g_assert_true (strchr (text, '\n') == text + strlen (text) - 1);
    g_assert_cmpint (back->kind, ==, kind);
    g_assert_cmpstr (back->id, ==, self->id);
    g_assert_cmpstr (back->name, ==, self->name);
    g_assert_cmpuint (back->members->len, ==, 2);
    for (guint i = 0; i < 2; i++)
      assert_same_member (back->members->pdata[i], self->members->pdata[i]);
    assert_same_guest (&back->guest, &self->guest);
    if (kind == SNAP_MANIFEST_SET) {
      g_assert_true (back->atomic);
      g_assert_cmpuint (back->window_us, ==, 1234);
    }
  }
}

static void
assert_corrupt (const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (SnapManifest) self = snap_manifest_parse (text, "x.json", &error);

  if (self != NULL)
    g_error ("taken for a document: %s", text);
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  g_assert_true (g_str_has_prefix (error->message, "x.json: "));
}

static void
test_rejects_what_is_not_ours (void)
{
  static const char *const texts[] = {
    "",
    "null",
    "[]",
    "{}",
    "17",
    "{\"schema\":\"nbdsnap/set/2\",\"set\":\"a\",\"volumes\":[]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\"}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"volumes\":[]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"volumes\":{}}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"volumes\":[1]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"volumes\":[{}]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":7,\"volumes\":[{\"driver\":\"a\","
    "\"location\":\"b\"}]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"volumes\":[{\"driver\":1,"
    "\"location\":\"b\"}]}",
    "{\"schema\":\"nbdsnap/journal/1\",\"set\":\"a\",\"volumes\":[{\"driver\":"
    "\"a\",\"location\":\"b\",\"record\":\"c\"}]}",
    "{\"schema\":\"nbdsnap/journal/1\",\"op\":\"create\",\"set\":\"a\","
    "\"volumes\":[{\"driver\":\"a\",\"location\":\"b\"}]}",
    "{\"schema\":\"nbdsnap/journal/1\",\"op\":\"delete\",\"set\":\"a\","
    "\"volumes\":[{\"driver\":\"a\",\"location\":\"b\"}]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"guest\":1,\"volumes\":"
    "[{\"driver\":\"a\",\"location\":\"b\"}]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"guest\":{\"quiesce\":"
    "\"agent\"},\"volumes\":[{\"driver\":\"a\",\"location\":\"b\"}]}",
    "{\"schema\":\"nbdsnap/set/1\",\"set\":\"a\",\"guest\":{\"monitor\":\"m\","
    "\"quiesce\":\"much\"},\"volumes\":[{\"driver\":\"a\",\"location\":\"b\"}"
    "]}",
    "\xff\xfe",
  };

  for (gsize i = 0; i < G_N_ELEMENTS (texts); i++)
    assert_corrupt (texts[i]);
}

static void
test_rejects_depth_without_recursing (void)
{
  g_autofree char *brackets = g_strnfill (4000000, '[');
  g_autofree char *braces = g_strnfill (4000000, '{');

  assert_corrupt (brackets);
  assert_corrupt (braces);
}

static void
test_rejects_every_truncation (void)
{
  g_autoptr (SnapManifest) self = example (SNAP_MANIFEST_CREATE);
  g_autofree char *text = snap_manifest_format (self);

  /* Without its newline it is still whole. */
  for (gsize length = strlen (text) - 1; length-- > 0;) {
    g_autofree char *cut = g_strndup (text, length);

    assert_corrupt (cut);
  }
}

static void
test_survives_every_flipped_bit (void)
{
  g_autoptr (SnapManifest) self = example (SNAP_MANIFEST_DELETE);
  g_autofree char *text = snap_manifest_format (self);

  for (gsize i = 0; i < strlen (text) * 8; i++) {
    g_autofree char *flipped = g_strdup (text);
    g_autoptr (GError) error = NULL;
    g_autoptr (SnapManifest) back = NULL;

    flipped[i / 8] ^= 1 << i % 8;
    back = snap_manifest_parse (flipped, "t", &error);
    g_assert_true ((back == NULL) == (error != NULL));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/manifest/reads-back-what-it-wrote",
                   test_reads_back_what_it_wrote);
  g_test_add_func ("/manifest/rejects-what-is-not-ours",
                   test_rejects_what_is_not_ours);
  g_test_add_func ("/manifest/rejects-depth-without-recursing",
                   test_rejects_depth_without_recursing);
  g_test_add_func ("/manifest/rejects-every-truncation",
                   test_rejects_every_truncation);
  g_test_add_func ("/manifest/survives-every-flipped-bit",
                   test_survives_every_flipped_bit);
  return g_test_run ();
}
