/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/context.h"

#include <string.h>

/* The allocation has its whole name, the others go on with the base. */
static const char *const names[] = {
  [SNAP_NBD_CONTEXT_ALLOCATION] = "base:allocation",
  [SNAP_NBD_CONTEXT_DIRTY] = "qemu:dirty-bitmap:",
  [SNAP_NBD_CONTEXT_CLEAN] = "nbdsnap:clean:",
};

static const char *const wildcards[] = {
  "base:", "qemu:", "qemu:dirty-bitmap:", "nbdsnap:", "nbdsnap:clean:",
};

static void
clear_context (gpointer context)
{
  g_free (((SnapNbdContext *) context)->base);
}

GArray *
snap_nbd_contexts_new (void)
{
  GArray *contexts = g_array_new (FALSE, FALSE, sizeof (SnapNbdContext));

  g_array_set_clear_func (contexts, clear_context);
  return contexts;
}

char *
snap_nbd_context_name (SnapNbdContextKind kind, const char *base)
{
  return g_strconcat (names[kind], base, NULL);
}

gboolean
snap_nbd_context_parse (const char *name, SnapNbdContextKind *kind,
                        const char **base)
{
  *base = NULL;
  *kind = SNAP_NBD_CONTEXT_ALLOCATION;
  if (g_str_equal (name, names[*kind]))
    return TRUE;
  for (guint i = SNAP_NBD_CONTEXT_DIRTY; i < G_N_ELEMENTS (names); i++)
    if (g_str_has_prefix (name, names[i])) {
      *kind = i;
      *base = name + strlen (names[i]);
      return **base != '\0';
    }
  return FALSE;
}

gboolean
snap_nbd_context_matches (const char *query, const char *name)
{
  if (g_str_equal (query, name))
    return TRUE;
  for (gsize i = 0; i < G_N_ELEMENTS (wildcards); i++)
    if (g_str_equal (query, wildcards[i]))
      return g_str_has_prefix (name, query);
  return FALSE;
}
