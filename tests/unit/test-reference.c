/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/reference.h"

#include <string.h>

#include "tests/unit/memory-driver.h"
#include "tests/unit/scratch.h"

static SnapRegistry *registry;

/* ---- what is understood ---- */

static const struct {
  const char *text, *driver, *location, *part, *from, *to;
} good[] = {
  { "disk", NULL, "disk", NULL, NULL, NULL },
  { "memory:disk", "memory", "disk", NULL, NULL, NULL },
  { "memory:/srv/disk@mon", "memory", "/srv/disk", NULL, NULL, "mon" },
  { "nosuch:disk@mon", NULL, "nosuch:disk", NULL, NULL, "mon" },
  { "./memory:disk", NULL, "./memory:disk", NULL, NULL, NULL },
  { "a/memory:disk", NULL, "a/memory:disk", NULL, NULL, NULL },
  { "memory:memory:disk", "memory", "memory:disk", NULL, NULL, NULL },
  { "/run/vm1.qmp#drive0@mon", NULL, "/run/vm1.qmp", "drive0", NULL, "mon" },
  { "vm#drive%230", NULL, "vm", "drive#0", NULL, NULL },
  { "a%40b%23c%25d@x", NULL, "a@b#c%d", NULL, NULL, "x" },
  { "disk@mon..tue", NULL, "disk", NULL, "mon", "tue" },
  { "disk@backing..live", NULL, "disk", NULL, "backing", "live" },
  { "disk@a%2E..%2Eb", NULL, "disk", NULL, "a.", ".b" },
  { "disk@a%2e%2Eb", NULL, "disk", NULL, NULL, "a..b" },
  { "disk@%41%ff%0A", NULL, "disk", NULL, NULL, "A\xff\n" },
  { "disk@a b/c:d", NULL, "disk", NULL, NULL, "a b/c:d" },
  { "disk@1.2.3", NULL, "disk", NULL, NULL, "1.2.3" },
};

static void
test_splits_into_its_parts (void)
{
  for (gsize i = 0; i < G_N_ELEMENTS (good); i++) {
    GError *error = NULL;
    g_autoptr (SnapReference) self =
        snap_reference_parse (registry, good[i].text, &error);

    g_assert_no_error (error);
    g_assert_cmpstr (self->driver != NULL ? self->driver->name : NULL, ==,
                     good[i].driver);
    g_assert_cmpstr (self->location, ==, good[i].location);
    g_assert_cmpstr (self->part, ==, good[i].part);
    g_assert_cmpstr (self->from, ==, good[i].from);
    g_assert_cmpstr (self->to, ==, good[i].to);
  }
}

/* ---- what is refused ---- */

static const struct {
  const char *text, *hint;
} bad[] = {
  { "", "no volume" },
  { "@mon", "no volume" },
  { "#part@mon", "no volume" },
  { "memory:", "no volume" },
  { "disk@", "no name" },
  { "disk@..tue", "FROM..TO" },
  { "disk@mon..", "FROM..TO" },
  { "disk@mon...tue", "FROM..TO" },
  { "disk@a..b..c", "FROM..TO" },
  { "disk@a@b", "%40" },
  { "disk@a#b", "%23" },
  { "vm#@mon", "no part" },
  { "vm#a#b", "%23" },
  { "50%", "%25" },
  { "50%full@mon", "%25" },
  { "50%41@mon", "%25" },
  { "vm#50%x", "%25" },
  { "disk@50%", "%25" },
  { "disk@a%00b", "%00" },
  { "disk@a%4", "%25" },
  { "disk@a%zz..b", "%25" },
  { "disk@a..b%zz", "%25" },
};

static void
test_refuses_with_a_hint (void)
{
  for (gsize i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (snap_reference_parse (registry, bad[i].text, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_USAGE);
    if (strstr (error->message, bad[i].hint) == NULL)
      g_error ("%s: %s", bad[i].text, error->message);
  }
}

static void
test_says_how_to_write_a_plain_path (void)
{
  static const char *const names[] = { "a@b", "a#b", "50%.raw", "x%40y" };
  g_autoptr (Scratch) scratch = scratch_new ();

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = g_build_filename (scratch, names[i], NULL);
    g_autofree char *written =
        snap_reference_format (NULL, path, NULL, NULL, NULL);
    g_autoptr (GError) error = NULL;
    g_autoptr (SnapReference) self = NULL;

    g_assert_true (g_file_set_contents (path, "", 0, NULL));
    g_assert_null (snap_reference_parse (registry, path, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_USAGE);
    g_assert_nonnull (strstr (error->message, written));
    self = snap_reference_parse (registry, written, NULL);
    g_assert_cmpstr (self->location, ==, path);
  }
}

static void
test_a_volume_wins_over_a_file_with_an_at (void)
{
  g_autoptr (Scratch) scratch = scratch_new ();
  g_autofree char *volume = g_build_filename (scratch, "a", NULL);
  g_autofree char *other = g_build_filename (scratch, "a@b", NULL);
  g_autoptr (SnapReference) self = NULL;

  g_assert_true (g_file_set_contents (volume, "", 0, NULL));
  g_assert_true (g_file_set_contents (other, "", 0, NULL));
  self = snap_reference_parse (registry, other, NULL);
  g_assert_cmpstr (self->location, ==, volume);
  g_assert_cmpstr (self->to, ==, "b");
}

/* ---- there and back ---- */

/* Any bytes, those that have a meaning more often. */
static char *
random_text (void)
{
  static const char special[] = "@#%..:/ a\n\xc3\xa4";
  gsize length = g_test_rand_int_range (1, 9);
  char *text = g_malloc0 (length + 1);

  for (gsize i = 0; i < length; i++)
    text[i] = g_test_rand_bit ()
                  ? special[g_test_rand_int_range (0, sizeof special - 1)]
                  : (char) g_test_rand_int_range (1, 256);
  return text;
}

static void
test_reads_back_what_it_wrote (void)
{
  for (int i = 0; i < 20000; i++) {
    g_autofree char *location = random_text ();
    g_autofree char *part = g_test_rand_bit () ? random_text () : NULL;
    g_autofree char *to = g_test_rand_bit () ? random_text () : NULL;
    g_autofree char *from =
        to != NULL && g_test_rand_bit () ? random_text () : NULL;
    g_autofree char *text =
        snap_reference_format ("memory", location, part, from, to);
    GError *error = NULL;
    g_autoptr (SnapReference) self = NULL;

    /* A place that exists is another matter, tested above. */
    if (strchr (location, '/') != NULL)
      continue;
    self = snap_reference_parse (registry, text, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (self->location, ==, location);
    g_assert_cmpstr (self->part, ==, part);
    g_assert_cmpstr (self->from, ==, from);
    g_assert_cmpstr (self->to, ==, to);
  }
}

static void
test_a_range_is_one_printable_word (void)
{
  for (int i = 0; i < 2000; i++) {
    g_autofree char *from = random_text ();
    g_autofree char *to = random_text ();
    g_autofree char *text = snap_point_range_format (from, to);

    g_assert_true (g_utf8_validate (text, -1, NULL));
    g_assert_null (strpbrk (text, " \t\n@#"));
  }
}

/* ---- names for new snapshots ---- */

static void
test_names (void)
{
  static const char *const fine[] = {
    "mon", "a", "2026-11-23", "v1.2.3", "20261123T041500Z", "A_b+c-d", "1a"
  };
  static const char *const wrong[] = { "",        ".a",   "a.",       "a..b",
                                       "a b",     "a/b",  "-a",       "_a",
                                       "12345",   "live", "empty",    "newest",
                                       "backing", "a@b",  "\xc3\xa4", "a\n" };
  g_autofree char *longest = g_strnfill (SNAP_NAME_MAX, 'a');
  g_autofree char *longer = g_strnfill (SNAP_NAME_MAX + 1, 'a');

  for (gsize i = 0; i < G_N_ELEMENTS (fine); i++)
    g_assert_true (snap_name_check (fine[i], NULL));
  g_assert_true (snap_name_check (longest, NULL));
  g_assert_false (snap_name_check (longer, NULL));
  for (gsize i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_false (snap_name_check (wrong[i], &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_USAGE);
  }
}

static void
test_the_default_name_is_a_name (void)
{
  g_autofree char *name = snap_name_default ();

  g_assert_true (snap_name_check (name, NULL));
  g_assert_cmpuint (strlen (name), ==, strlen ("20261123T041500Z"));
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  registry = snap_registry_new ();
  g_assert_true (snap_registry_add (registry, &memory_driver, NULL));

  g_test_add_func ("/reference/splits-into-its-parts",
                   test_splits_into_its_parts);
  g_test_add_func ("/reference/refuses-with-a-hint", test_refuses_with_a_hint);
  g_test_add_func ("/reference/says-how-to-write-a-plain-path",
                   test_says_how_to_write_a_plain_path);
  g_test_add_func ("/reference/a-volume-wins-over-a-file-with-an-at",
                   test_a_volume_wins_over_a_file_with_an_at);
  g_test_add_func ("/reference/reads-back-what-it-wrote",
                   test_reads_back_what_it_wrote);
  g_test_add_func ("/reference/a-range-is-one-printable-word",
                   test_a_range_is_one_printable_word);
  g_test_add_func ("/name/takes-words-and-refuses-traps", test_names);
  g_test_add_func ("/name/the-default-is-a-name",
                   test_the_default_name_is_a_name);
  status = g_test_run ();
  snap_registry_free (registry);
  return status;
}
