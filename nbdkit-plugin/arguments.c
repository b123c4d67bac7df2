/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbdkit-plugin/arguments.h"

#include "snapshot-core/service/volume.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

static void
clear_source (gpointer element)
{
  SnapExportSource *source = element;

  g_free ((char *) source->label);
  g_free ((char *) source->reference);
}

void
plugin_arguments_init (PluginArguments *self)
{
  *self = (PluginArguments){
    .sources = g_array_new (FALSE, FALSE, sizeof (SnapExportSource)),
  };
  g_array_set_clear_func (self->sources, clear_source);
}

void
plugin_arguments_clear (PluginArguments *self)
{
  g_clear_pointer (&self->sources, g_array_unref);
  g_clear_pointer (&self->state_dir, g_free);
  g_clear_pointer (&self->secret_file, g_free);
  g_clear_pointer (&self->snapshot_dir, g_free);
  g_clear_pointer (&self->contexts, g_free);
}

static gboolean
take_path (char **path, const char *key, const char *value, GError **error)
{
  if (*path != NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE, "%s: given twice", key);
  *path = nbdkit_absolute_path (value);
  return *path != NULL
         || snap_error_set (error, SNAP_ERROR_USAGE, "%s: no such path", key);
}

static gboolean
take_snapshot_dir (PluginArguments *self, const char *key, const char *value,
                   GError **error)
{
  if (self->snapshot_dir != NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE, "%s: given twice", key);
  self->snapshot_dir = g_strdup (value);
  return snap_snapshot_dir_check (value, error);
}

static gboolean
take_source (PluginArguments *self, const char *label, const char *reference)
{
  const SnapExportSource source = {
    .label = g_strdup (label),
    .reference = g_strdup (reference),
  };

  g_array_append_val (self->sources, source);
  return TRUE;
}

gboolean
plugin_arguments_take (PluginArguments *self, const char *key,
                       const char *value, GError **error)
{
  if (*value == '\0')
    return snap_error_set (error, SNAP_ERROR_USAGE, "%s: empty value", key);
  if (g_str_equal (key, "state-dir"))
    return take_path (&self->state_dir, key, value, error);
  if (g_str_equal (key, "secret"))
    return take_path (&self->secret_file, key, value, error);
  if (g_str_equal (key, "contexts"))
    return take_path (&self->contexts, key, value, error);
  if (g_str_equal (key, "snapshot-dir"))
    return take_snapshot_dir (self, key, value, error);
  if (g_str_equal (key, PLUGIN_MAGIC_KEY))
    return take_source (self, NULL, value);
  return take_source (self, key, value);
}

gboolean
plugin_arguments_complete (const PluginArguments *self, GError **error)
{
  if (self->sources->len > 0)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         PLUGIN_MAGIC_KEY ": nothing to serve; name a volume, "
                                          "a snapshot or a range");
}
