/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nbdkit-snapshot-plugin: snapshots, and what changed between them, over NBD.
 *
 * A thin front end of service/export.  Read-only, because it has no pwrite.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "nbdkit-plugin/arguments.h"
#include "nbdkit-plugin/contexts.h"
#include "nbdkit-plugin/extents.h"
#include "nbdkit-plugin/failure.h"
#include "snapshot-core/service/export.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* What clients should ask for, and the most they may, bytes. */
#define PREFERRED_BLOCK (256 * 1024)
#define MAXIMUM_BLOCK (32 * 1024 * 1024)

/* The longest string of the protocol, bytes. */
#define MAX_STRING 4096

/* nbdkit's callbacks carry no pointer of ours; one server, one set of these.
   Nothing here changes after get_ready. */
static PluginArguments arguments;
static SnapRegistry *registry;
static SnapState *state;
static SnapExports *exports;
static SnapNbdServer *contexts; /* or NULL */

/* ---- start and end ---- */

static void
plugin_load (void)
{
  plugin_arguments_init (&arguments);
  registry = snap_registry_new ();
}

static int
plugin_config (const char *key, const char *value)
{
  g_autoptr (GError) error = NULL;

  if (!plugin_arguments_take (&arguments, key, value, &error))
    return plugin_fail (error);
  return 0;
}

static int
plugin_config_complete (void)
{
  g_autoptr (GError) error = NULL;

  if (!plugin_arguments_complete (&arguments, &error))
    return plugin_fail (error);
  return 0;
}

static void
print_driver (const SnapDriver *driver)
{
  g_autofree const char **capabilities = snap_driver_capabilities (driver);
  g_autofree char *joined = g_strjoinv (",", (char **) capabilities);

  printf ("snapshot_driver_%s=%s\n", driver->name, joined);
}

static void
plugin_dump (void)
{
  printf ("snapshot_version=%s\n", PACKAGE_VERSION);
  for (gsize i = 0; i < snap_registry_n (registry); i++)
    print_driver (snap_registry_at (registry, i));
}

/* Fix what every export name means, while still in the foreground and with
   the privileges that nbdkit was started with. */
static int
plugin_get_ready (void)
{
  const SnapOpenOptions options = {
    .mode = SNAP_OPEN_READ,
    .secret_file = arguments.secret_file,
    .snapshot_dir = arguments.snapshot_dir,
  };
  g_autoptr (GError) error = NULL;

  for (const char *const *complaint = snap_registry_complaints (registry);
       *complaint != NULL; complaint++)
    nbdkit_debug ("%s", *complaint);

  state = snap_state_new (arguments.state_dir);
  exports = snap_exports_resolve (
      registry, state, (const SnapExportSource *) arguments.sources->data,
      arguments.sources->len, &options, &error);
  if (exports == NULL)
    return plugin_fail (error);
  if (arguments.contexts != NULL) {
    contexts = plugin_contexts_open (exports, arguments.contexts, &error);
    if (contexts == NULL)
      return plugin_fail (error);
  }
  return 0;
}

/* A thread that began before the fork would not be there any more. */
static int
plugin_after_fork (void)
{
  if (contexts != NULL)
    snap_nbd_server_start (contexts);
  return 0;
}

/* After the last connection is closed: let go of what was held. */
static void
plugin_cleanup (void)
{
  g_clear_pointer (&contexts, plugin_contexts_close);
  g_clear_pointer (&exports, snap_exports_free);
}

static void
plugin_unload (void)
{
  plugin_cleanup ();
  g_clear_pointer (&state, snap_state_free);
  g_clear_pointer (&registry, snap_registry_free);
  plugin_arguments_clear (&arguments);
}

/* ---- export names ---- */

/* A name that the protocol cannot carry cannot be asked for either; one such
   must not take the others along. */
static gboolean
list_one (const char *name, const char *description, gpointer list)
{
  if (strlen (name) > MAX_STRING)
    return TRUE;
  if (strlen (description) > MAX_STRING)
    description = NULL;
  return nbdkit_add_export (list, name, description) == 0;
}

static int
plugin_list_exports (int readonly, int is_tls, struct nbdkit_exports *list)
{
  snap_exports_list (exports, list_one, list);
  return 0;
}

static const char *
plugin_default_export (int readonly, int is_tls)
{
  return snap_exports_default (exports);
}

/* ---- connections ---- */

static void *
plugin_open (int readonly)
{
  g_autoptr (GError) error = NULL;
  SnapExport *export =
      snap_export_open (exports, nbdkit_export_name (), &error);

  if (export == NULL)
    plugin_fail (error);
  return export;
}

static void
plugin_close (void *handle)
{
  snap_export_close (handle);
}

static const char *
plugin_export_description (void *handle)
{
  const char *description = snap_export_description (handle);

  return strlen (description) <= MAX_STRING ? description : NULL;
}

static int64_t
plugin_get_size (void *handle)
{
  return snap_export_size (handle);
}

static int
plugin_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                   uint32_t *maximum)
{
  *minimum = SNAP_EXPORT_BLOCK;
  *preferred = PREFERRED_BLOCK;
  *maximum = MAXIMUM_BLOCK;
  return 0;
}

static int
plugin_is_rotational (void *handle)
{
  return 0;
}

/* What is served never changes, so that connections always agree. */
static int
plugin_can_multi_conn (void *handle)
{
  return 1;
}

static int
plugin_can_extents (void *handle)
{
  return 1;
}

static int
plugin_can_cache (void *handle)
{
  return NBDKIT_CACHE_NATIVE;
}

/* ---- requests ---- */

static int
plugin_pread (void *handle, void *buffer, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  g_autoptr (GError) error = NULL;

  if (!snap_export_read (handle, offset, buffer, count, &error))
    return plugin_fail (error);
  return 0;
}

static int
plugin_answer_extents (void *handle, uint32_t count, uint64_t offset,
                       uint32_t flags, struct nbdkit_extents *list)
{
  gboolean one = (flags & NBDKIT_FLAG_REQ_ONE) != 0;
  g_autoptr (GError) error = NULL;

  if (!plugin_extents (handle, offset, count, one, list, &error))
    return plugin_fail (error);
  return 0;
}

static int
plugin_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  snap_export_prefetch (handle, offset, count, SNAP_EXPORT_PAGES_TO_KEEP);
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name = "snapshot",
  .longname = "nbdkit snapshot plugin",
  .version = PACKAGE_VERSION,
  .description = "Serve snapshots of volumes, and what changed between them",

  .load = plugin_load,
  .unload = plugin_unload,
  .magic_config_key = PLUGIN_MAGIC_KEY,
  .config = plugin_config,
  .config_complete = plugin_config_complete,
  .config_help = "volume=REF         (required) A volume, VOLUME@SNAP or "
                 "VOLUME@BASE..SNAP;\n"
                 "                   may be repeated, and the \"volume=\" may "
                 "be left out.\n"
                 "LABEL=REF          The same, called LABEL in export names.\n"
                 "state-dir=DIR      Where holds and the journal are kept.\n"
                 "secret=FILE        File with the key of an encrypted image.\n"
                 "snapshot-dir=NAME  Name of the directory for snapshots of "
                 "files.\n"
                 "contexts=SOCKET    Also serve there, with a metadata context "
                 "for each base.",
  .dump_plugin = plugin_dump,
  .get_ready = plugin_get_ready,
  .after_fork = plugin_after_fork,
  .cleanup = plugin_cleanup,

  .list_exports = plugin_list_exports,
  .default_export = plugin_default_export,

  .open = plugin_open,
  .close = plugin_close,
  .export_description = plugin_export_description,
  .get_size = plugin_get_size,
  .block_size = plugin_block_size,
  .is_rotational = plugin_is_rotational,
  .can_multi_conn = plugin_can_multi_conn,
  .can_extents = plugin_can_extents,
  .can_cache = plugin_can_cache,

  .pread = plugin_pread,
  .extents = plugin_answer_extents,
  .cache = plugin_cache,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
