/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/library.h"

#include <dlfcn.h>
#include <string.h>

#include "snapshot-core/base/error.h"

static gboolean
is_loaded (const void *table)
{
  gpointer first;

  memcpy (&first, table, sizeof first);
  return first != NULL;
}

/* Copied, because no cast turns an object's address into a function's. */
static gboolean
look_up (gpointer library, const char *const *names, gsize n, guint8 *table)
{
  for (gsize i = 0; i < n; i++) {
    gpointer function = dlsym (library, names[i]);

    if (function == NULL)
      return FALSE;
    memcpy (table + i * sizeof function, &function, sizeof function);
  }
  return TRUE;
}

gboolean
snap_library_load (const char *soname, const char *const *names, gsize n,
                   void *table, GError **error)
{
  static GMutex mutex; /* over the table */
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);
  gpointer library;

  if (is_loaded (table))
    return TRUE;
  library = dlopen (soname, RTLD_LAZY | RTLD_LOCAL);
  if (library != NULL && look_up (library, names, n, table))
    return TRUE;
  snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s", dlerror ());
  memset (table, 0, n * sizeof (gpointer));
  if (library != NULL)
    dlclose (library);
  return FALSE;
}
