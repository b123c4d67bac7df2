/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/registry.h"

#include <errno.h>
#include <gmodule.h>
#include <string.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/os/path.h"

#define MODULE_PREFIX "nbdsnap-"
#define MODULE_SUFFIX "-driver.so"

/* The size of the struct as of ABI 1: the least that a driver may have. */
#define MIN_STRUCT_SIZE \
  (G_STRUCT_OFFSET (SnapDriver, open_image) + sizeof (gpointer))

static const SnapDriver *const builtins[] = {
  &snap_driver_btrfs,     &snap_driver_image, &snap_driver_lvm,
  &snap_driver_qcow2,     &snap_driver_qemu,  &snap_driver_reflink,
  &snap_driver_thin_meta,
};

struct _SnapRegistry {
  GPtrArray *drivers;    /* const SnapDriver, in order of registration */
  GPtrArray *complaints; /* char *, kept NULL-terminated */
};

/* ---- what a driver must be ---- */

static gboolean
is_driver_name (const char *name)
{
  return name != NULL && g_ascii_islower (name[0])
         && strspn (name, "abcdefghijklmnopqrstuvwxyz0123456789-")
                == strlen (name);
}

/* Creation is a promise to finish or undo: all of its phases or none. */
static gboolean
has_whole_creation (const SnapDriver *driver)
{
  if (driver->plan == NULL)
    return TRUE;
  return driver->cut != NULL && driver->commit != NULL && driver->abort != NULL
         && driver->free_cut != NULL && driver->recover != NULL;
}

/* What is missing in a driver, or NULL. */
static const char *
find_fault (const SnapDriver *driver)
{
  if (driver->abi != SNAP_DRIVER_ABI)
    return "is built for another driver ABI";
  if (driver->struct_size < MIN_STRUCT_SIZE)
    return "has a driver struct that is too small";
  if (!is_driver_name (driver->name))
    return "has no valid driver name";
  if (driver->description == NULL || driver->probe == NULL
      || driver->open == NULL || driver->close == NULL || driver->list == NULL)
    return "lacks a required op";
  if (!has_whole_creation (driver))
    return "lacks a phase of creation";
  if ((driver->diff == NULL) != (driver->comparable == NULL))
    return "has only one of diff and comparable";
  return NULL;
}

gboolean
snap_registry_add (SnapRegistry *self, const SnapDriver *driver, GError **error)
{
  const char *fault = find_fault (driver);

  /* With a fault not even the name can be trusted to be there. */
  if (fault != NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "driver: it %s",
                           fault);
  if (snap_registry_lookup (self, driver->name) != NULL)
    return snap_error_set (error, SNAP_ERROR_EXISTS,
                           "driver %s: is already registered", driver->name);
  g_ptr_array_add (self->drivers, (gpointer) driver);
  return TRUE;
}

/* ---- modules ---- */

static gboolean
load_module (SnapRegistry *self, const char *path, GError **error)
{
  const SnapDriver *(*entry) (void) = NULL;
  gpointer symbol = NULL;
  GModule *module;

  module = g_module_open (path, G_MODULE_BIND_LOCAL);
  if (module == NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s",
                           g_module_error ());
  if (!g_module_symbol (module, SNAP_DRIVER_ENTRY, &symbol)) {
    g_module_close (module);
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "no symbol " SNAP_DRIVER_ENTRY);
  }
  memcpy (&entry, &symbol, sizeof entry);

  /* Volumes point into the driver for as long as the process lives. */
  g_module_make_resident (module);
  return snap_registry_add (self, entry (), error);
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

static gboolean
is_module_name (const char *name)
{
  return g_str_has_prefix (name, MODULE_PREFIX)
         && g_str_has_suffix (name, MODULE_SUFFIX);
}

/* The modules of a directory, in an order that does not change. */
static GPtrArray *
find_modules (const char *directory)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) dir = g_dir_open (directory, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    if (is_module_name (name))
      g_ptr_array_add (paths, g_build_filename (directory, name, NULL));
  g_ptr_array_sort (paths, compare_names);
  return paths;
}

static void
load_directory (SnapRegistry *self, const char *directory)
{
  g_autoptr (GPtrArray) paths = find_modules (directory);

  for (guint i = 0; i < paths->len; i++) {
    const char *path = g_ptr_array_index (paths, i);
    g_autoptr (GError) error = NULL;

    if (!load_module (self, path, &error))
      g_ptr_array_insert (self->complaints, self->complaints->len - 1,
                          g_strdup_printf ("%s: %s", path, error->message));
  }
}

SnapRegistry *
snap_registry_new (void)
{
  SnapRegistry *self = g_new0 (SnapRegistry, 1);
  const char *path = g_getenv ("NBDSNAP_DRIVER_PATH");
  g_auto (GStrv) directories =
      g_strsplit (path != NULL ? path : SNAP_DRIVER_DIR, ":", -1);

  self->drivers = g_ptr_array_new ();
  self->complaints = g_ptr_array_new_with_free_func (g_free);
  g_ptr_array_add (self->complaints, NULL);

  for (gsize i = 0; i < G_N_ELEMENTS (builtins); i++)
    g_ptr_array_add (self->drivers, (gpointer) builtins[i]);
  for (char **directory = directories; *directory != NULL; directory++)
    if (**directory != '\0')
      load_directory (self, *directory);
  return self;
}

void
snap_registry_free (SnapRegistry *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref (self->drivers);
  g_ptr_array_unref (self->complaints);
  g_free (self);
}

/* ---- finding a driver ---- */

const SnapDriver *
snap_registry_lookup (SnapRegistry *self, const char *name)
{
  for (guint i = 0; i < self->drivers->len; i++) {
    const SnapDriver *driver = g_ptr_array_index (self->drivers, i);

    if (g_str_equal (driver->name, name))
      return driver;
  }
  return NULL;
}

/* What may not be looked at is not unknown. */
static gboolean
check_accessible (const char *location, GError **error)
{
  int errnum = snap_path_access (location);

  return (errnum != EACCES && errnum != EPERM)
         || snap_error_set_errno (error, errnum, "%s", location);
}

static void
refuse_unknown (const char *location, GError **error)
{
  if (check_accessible (location, error))
    snap_error_set (error, SNAP_ERROR_NOT_FOUND,
                    g_file_test (location, G_FILE_TEST_EXISTS)
                        ? "%s: exists, but no driver knows what it is"
                        : "%s: no such file, and no driver knows the name",
                    location);
}

const SnapDriver *
snap_registry_probe (SnapRegistry *self, const char *location, GError **error)
{
  const SnapDriver *best = NULL;
  int best_score = 0;

  for (guint i = 0; i < self->drivers->len; i++) {
    const SnapDriver *driver = g_ptr_array_index (self->drivers, i);
    int score = driver->probe (location);

    if (score > best_score) {
      best = driver;
      best_score = score;
    }
  }
  if (best == NULL)
    refuse_unknown (location, error);
  return best;
}

gsize
snap_registry_n (SnapRegistry *self)
{
  return self->drivers->len;
}

const SnapDriver *
snap_registry_at (SnapRegistry *self, gsize index)
{
  g_return_val_if_fail (index < self->drivers->len, NULL);
  return g_ptr_array_index (self->drivers, index);
}

const char *const *
snap_registry_complaints (SnapRegistry *self)
{
  return (const char *const *) self->complaints->pdata;
}

const char **
snap_driver_capabilities (const SnapDriver *driver)
{
  GPtrArray *names = g_ptr_array_new ();

  if (driver->plan != NULL)
    g_ptr_array_add (names, (gpointer) "create");
  if (driver->remove != NULL)
    g_ptr_array_add (names, (gpointer) "delete");
  if (driver->diff != NULL)
    g_ptr_array_add (names, (gpointer) "diff");
  if (driver->open_image != NULL)
    g_ptr_array_add (names, (gpointer) "read");
  g_ptr_array_add (names, NULL);
  return (const char **) g_ptr_array_free (names, FALSE);
}
