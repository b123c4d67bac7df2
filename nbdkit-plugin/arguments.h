/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plugin's key=value arguments, collected as nbdkit hands them over.
 *
 * Nothing is opened here: references are resolved when all are known.
 */
#ifndef NBDKIT_PLUGIN_ARGUMENTS_H
#define NBDKIT_PLUGIN_ARGUMENTS_H

#include "snapshot-core/service/export.h"

/* The key of an argument that has none. */
#define PLUGIN_MAGIC_KEY "volume"

typedef struct {
  GArray *sources;    /* SnapExportSource, whose strings are owned here */
  char *state_dir;    /* absolute; NULL: the default */
  char *secret_file;  /* absolute; NULL: none */
  char *snapshot_dir; /* a name; NULL: the default */
  char *contexts;     /* absolute: a socket; NULL: none */
} PluginArguments;

void plugin_arguments_init (PluginArguments *self);
void plugin_arguments_clear (PluginArguments *self);

/*
 * Take one argument.  Paths become absolute, because a server in the
 * background changes its directory.
 *
 * Errors: USAGE (an empty value, a key given twice, a label that is none).
 */
gboolean plugin_arguments_take (PluginArguments *self, const char *key,
                                const char *value, GError **error);

/* Check that nothing is missing.  Errors: USAGE. */
gboolean plugin_arguments_complete (const PluginArguments *self,
                                    GError **error);

#endif
