/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/registry.h"

#include <string.h>

#include "tests/unit/memory-driver.h"
#include "tests/unit/memory-store.h"
#include "tests/unit/scratch.h"

static void
assert_refused (const SnapDriver *driver, SnapError code)
{
  g_autoptr (SnapRegistry) registry = snap_registry_new ();
  g_autoptr (GError) error = NULL;

  g_assert_true (snap_registry_add (registry, &memory_driver_slow, NULL));
  g_assert_false (snap_registry_add (registry, driver, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
}

static void
test_refuses_half_a_driver (void)
{
  SnapDriver driver = memory_driver;

#define WITHOUT(op)       \
  driver = memory_driver; \
  driver.op = 0;          \
  assert_refused (&driver, SNAP_ERROR_UNSUPPORTED);

  WITHOUT (abi)
  WITHOUT (struct_size)
  WITHOUT (name)
  WITHOUT (description)
  WITHOUT (probe)
  WITHOUT (open)
  WITHOUT (close)
  WITHOUT (list)
  WITHOUT (cut)
  WITHOUT (commit)
  WITHOUT (abort)
  WITHOUT (free_cut)
  WITHOUT (recover)
  WITHOUT (comparable)
  WITHOUT (diff)
}

static void
test_refuses_names_that_break_references (void)
{
  static const char *const names[] = { "", "1a", "Memory", "a:b", "a/b", "a_" };

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    SnapDriver driver = memory_driver;

    driver.name = names[i];
    assert_refused (&driver, SNAP_ERROR_UNSUPPORTED);
  }
}

static void
test_refuses_a_name_twice (void)
{
  SnapDriver driver = memory_driver;

  driver.name = "slow-memory";
  assert_refused (&driver, SNAP_ERROR_EXISTS);
}

static void
test_a_driver_may_lack_what_is_optional (void)
{
  g_autoptr (SnapRegistry) registry = snap_registry_new ();
  gsize n = snap_registry_n (registry);
  SnapDriver driver = memory_driver;
  g_autofree const char **all = snap_driver_capabilities (&driver);
  g_autofree const char **few = NULL;

  driver.plan = NULL;
  driver.remove = NULL;
  driver.comparable = NULL;
  driver.diff = NULL;
  few = snap_driver_capabilities (&driver);
  g_assert_true (snap_registry_add (registry, &driver, NULL));
  g_assert_cmpuint (snap_registry_n (registry), ==, n + 1);
  g_assert_true (snap_registry_at (registry, n) == &driver);
  g_assert_true (snap_registry_lookup (registry, "memory") == &driver);
  g_assert_cmpuint (g_strv_length ((char **) all), ==, 4);
  g_assert_cmpuint (g_strv_length ((char **) few), ==, 1);
  g_assert_cmpstr (few[0], ==, "read");
}

/* ---- probing ---- */

static int
score_99 (const char *location)
{
  return strcmp (location, "disk") == 0 ? 99 : 0;
}

static void
test_probing_takes_the_surest (void)
{
  g_autoptr (SnapRegistry) registry = snap_registry_new ();
  SnapDriver surer = memory_driver;

  surer.name = "surer";
  surer.probe = score_99;
  memory_store_create ("disk", 0);
  g_assert_true (snap_registry_add (registry, &memory_driver, NULL));
  g_assert_true (snap_registry_probe (registry, "disk", NULL)
                 == &memory_driver);
  g_assert_true (snap_registry_add (registry, &surer, NULL));
  g_assert_true (snap_registry_probe (registry, "disk", NULL) == &surer);
  memory_driver_reset ();
}

static void
test_probing_says_whether_there_is_a_file (void)
{
  g_autoptr (SnapRegistry) registry = snap_registry_new ();
  g_autoptr (GError) missing = NULL;
  g_autoptr (GError) unknown = NULL;

  g_assert_null (snap_registry_probe (registry, "/no/such/file", &missing));
  g_assert_error (missing, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (missing->message, "no such file"));
  g_assert_null (snap_registry_probe (registry, "/dev/null", &unknown));
  g_assert_error (unknown, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (unknown->message, "exists"));
}

/* ---- modules ---- */

/* Where the build left the memory driver as a module. */
static char *
module_path (void)
{
  const char *top = g_getenv ("abs_top_builddir");
  char *path = g_build_filename (top != NULL ? top : ".", "tests", "unit",
                                 ".libs", "nbdsnap-memory-driver.so", NULL);

  g_assert_true (g_file_test (path, G_FILE_TEST_EXISTS));
  return path;
}

static void
test_loads_modules_from_the_path (void)
{
  g_autofree char *module = module_path ();
  g_autofree char *directory = g_path_get_dirname (module);
  g_autofree char *path = g_strconcat ("/no/such::", directory, NULL);
  g_autoptr (SnapRegistry) registry = NULL;
  const SnapDriver *driver;

  g_setenv ("NBDSNAP_DRIVER_PATH", path, TRUE);
  registry = snap_registry_new ();
  g_unsetenv ("NBDSNAP_DRIVER_PATH");
  g_assert_null (snap_registry_complaints (registry)[0]);
  driver = snap_registry_lookup (registry, "memory");
  g_assert_nonnull (driver);
  g_assert_true (driver != &memory_driver);
  g_assert_cmpint (driver->probe ("nothing"), ==, 0);
}

static void
test_complains_about_modules_it_cannot_use (void)
{
  g_autoptr (Scratch) scratch = scratch_new ();
  g_autofree char *broken =
      g_build_filename (scratch, "nbdsnap-broken-driver.so", NULL);
  g_autofree char *ignored = g_build_filename (scratch, "other.so", NULL);
  g_autoptr (SnapRegistry) registry = NULL;
  const char *const *complaints;

  g_assert_true (g_file_set_contents (broken, "text", -1, NULL));
  g_assert_true (g_file_set_contents (ignored, "text", -1, NULL));
  g_setenv ("NBDSNAP_DRIVER_PATH", scratch, TRUE);
  registry = snap_registry_new ();
  g_unsetenv ("NBDSNAP_DRIVER_PATH");
  complaints = snap_registry_complaints (registry);
  g_assert_nonnull (complaints[0]);
  g_assert_nonnull (strstr (complaints[0], broken));
  g_assert_null (complaints[1]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/registry/refuses-half-a-driver",
                   test_refuses_half_a_driver);
  g_test_add_func ("/registry/refuses-names-that-break-references",
                   test_refuses_names_that_break_references);
  g_test_add_func ("/registry/refuses-a-name-twice", test_refuses_a_name_twice);
  g_test_add_func ("/registry/a-driver-may-lack-what-is-optional",
                   test_a_driver_may_lack_what_is_optional);
  g_test_add_func ("/registry/probing-takes-the-surest",
                   test_probing_takes_the_surest);
  g_test_add_func ("/registry/probing-says-whether-there-is-a-file",
                   test_probing_says_whether_there_is_a_file);
  g_test_add_func ("/registry/loads-modules-from-the-path",
                   test_loads_modules_from_the_path);
  g_test_add_func ("/registry/complains-about-modules-it-cannot-use",
                   test_complains_about_modules_it_cannot_use);
  return g_test_run ();
}
