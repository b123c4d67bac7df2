/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nbdkit-snapshot-plugin: nbdkit's callbacks over service/export.
 *
 * Exports are resolved before nbdkit forks and never change afterwards; what
 * needs a process of its own starts at the first read that needs it.
 */
#include "config.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <stdio.h>

#include "nbdkit-plugin/arguments.h"
#include "nbdkit-plugin/extents.h"
#include "nbdkit-plugin/failure.h"
#include "snapshot-core/service/export.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* What a client should prefer to ask for at once, bytes. */
#define PREFERRED_BLOCK (64 * 1024)
#define MAXIMUM_BLOCK (32 * 1024 * 1024)

/* Completion takes the keys from the lines that start with one and "=". */
#define CONFIG_HELP                                                         \
  "[volume=]REFERENCE   (required) A volume, VOLUME@SNAP or VOLUME@A..B;\n" \
  "volume=REFERENCE     may be given several times.\n"                      \
  "LABEL=REFERENCE      The same, with its exports called LABEL@….\n"     \
  "state-dir=DIRECTORY  Where holds are kept, as for nbdsnap(1).\n"         \
  "secret=FILE          The file with the key of an encrypted image."

static PluginArguments arguments;
static SnapRegistry *registry;
static SnapState *state;
static SnapExports *exports;

/* ---- configuration ---- */

static int
snapshot_config (const char *key, const char *value)
{
  g_autoptr (GError) error = NULL;

  return plugin_arguments_take (&arguments, key, value, &error)
             ? 0
             : plugin_fail (error);
}

static int
snapshot_config_complete (void)
{
  g_autoptr (GError) error = NULL;

  return plugin_arguments_complete (&arguments, &error) ? 0
                                                        : plugin_fail (error);
}

static void
snapshot_load (void)
{
  plugin_arguments_init (&arguments);
}

static void
snapshot_unload (void)
{
  g_clear_pointer (&exports, snap_exports_free);
  g_clear_pointer (&state, snap_state_free);
  g_clear_pointer (&registry, snap_registry_free);
  plugin_arguments_clear (&arguments);
}

static void
snapshot_dump_plugin (void)
{
  g_autoptr (SnapRegistry) drivers = snap_registry_new ();

  printf ("nbdsnap_drivers=");
  for (gsize i = 0; i < snap_registry_n (drivers); i++)
    printf ("%s%s", i > 0 ? " " : "", snap_registry_at (drivers, i)->name);
  printf ("\n");
}

/* ---- exports ---- */

static int
snapshot_get_ready (void)
{
  const SnapOpenOptions options = { .mode = SNAP_OPEN_READ,
                                    .secret_file = arguments.secret_file };
  g_autoptr (GError) error = NULL;

  registry = snap_registry_new ();
  state = snap_state_new (arguments.state_dir);
  exports = snap_exports_resolve (
      registry, state, (const SnapExportSource *) arguments.sources->data,
      arguments.sources->len, &options, &error);
  return exports != NULL ? 0 : plugin_fail (error);
}

static gboolean
add_export (const char *name, const char *description, gpointer user_data)
{
  return nbdkit_add_export (user_data, name, description) == 0;
}

static int
snapshot_list_exports (int readonly, int is_tls, struct nbdkit_exports *answer)
{
  snap_exports_list (exports, add_export, answer);
  return 0;
}

static const char *
snapshot_default_export (int readonly, int is_tls)
{
  return snap_exports_default (exports);
}

static void *
snapshot_open (int readonly)
{
  g_autoptr (GError) error = NULL;
  SnapExport *handle =
      snap_export_open (exports, nbdkit_export_name (), &error);

  if (handle == NULL)
    plugin_fail (error);
  return handle;
}

static void
snapshot_close (void *handle)
{
  snap_export_close (handle);
}

static const char *
snapshot_export_description (void *handle)
{
  return nbdkit_strdup_intern (snap_export_description (handle));
}

static int64_t
snapshot_get_size (void *handle)
{
  return snap_export_size (handle);
}

static int
snapshot_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                     uint32_t *maximum)
{
  *minimum = 1;
  *preferred = PREFERRED_BLOCK;
  *maximum = MAXIMUM_BLOCK;
  return 0;
}

/* Yes to "is it so" where the question is about immutable data. */
static int
snapshot_yes (void *handle)
{
  return 1;
}

static int
snapshot_no (void *handle)
{
  return 0;
}

static int
snapshot_can_cache (void *handle)
{
  return NBDKIT_CACHE_NATIVE;
}

/* ---- data ---- */

static int
snapshot_pread (void *handle, void *buffer, uint32_t count, uint64_t offset,
                uint32_t flags)
{
  g_autoptr (GError) error = NULL;

  return snap_export_read (handle, offset, buffer, count, &error)
             ? 0
             : plugin_fail (error);
}

static int
snapshot_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  snap_export_prefetch (handle, offset, count);
  return 0;
}

static int
snapshot_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                  struct nbdkit_extents *answer)
{
  const PluginQuery query = { .offset = offset,
                              .length = count,
                              .one = (flags & NBDKIT_FLAG_REQ_ONE) != 0 };
  g_autoptr (GError) error = NULL;
  gboolean ok =
      snap_export_is_range (handle)
          ? plugin_extents_dirty (handle, &query, answer, &error)
          : plugin_extents_allocation (handle, &query, answer, &error);

  return ok ? 0 : plugin_fail (error);
}

static struct nbdkit_plugin plugin = {
  .name = "snapshot",
  .longname = "nbdsnap snapshot plugin",
  .version = PACKAGE_VERSION,
  .description = "Snapshots of volumes, read-only, and what changed since "
                 "earlier ones",
  .load = snapshot_load,
  .unload = snapshot_unload,
  .config = snapshot_config,
  .config_complete = snapshot_config_complete,
  .config_help = CONFIG_HELP,
  .magic_config_key = PLUGIN_MAGIC_KEY,
  .dump_plugin = snapshot_dump_plugin,
  .get_ready = snapshot_get_ready,
  .list_exports = snapshot_list_exports,
  .default_export = snapshot_default_export,
  .open = snapshot_open,
  .close = snapshot_close,
  .export_description = snapshot_export_description,
  .get_size = snapshot_get_size,
  .block_size = snapshot_block_size,
  .is_rotational = snapshot_no,
  .can_multi_conn = snapshot_yes,
  .can_extents = snapshot_yes,
  .can_cache = snapshot_can_cache,
  .pread = snapshot_pread,
  .cache = snapshot_cache,
  .extents = snapshot_extents,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
