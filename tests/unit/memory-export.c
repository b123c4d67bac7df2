/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/memory-export.h"

#include <string.h>

static void
snapshot (MemoryTest *f, const char *reference, const char *name)
{
  snap_set_free (memory_test_create (f, name, reference, NULL));
}

void
memory_export_setup (MemoryTest *f, gconstpointer data)
{
  memory_test_setup (f, data);
  memory_store_create ("disk", MEMORY_EXPORT_SIZE);
  memory_store_make_backing ("disk");
  memory_test_fill ("disk", 0, 1, 'a');
  snapshot (f, "memory:disk", "mon");
  memory_test_fill ("disk", 1, 1, 'b');
  snapshot (f, "memory:disk", "tue");
  memory_store_zero ("disk", 0, MEMORY_BLOCK);
  snapshot (f, "memory:disk", "wed");
}

SnapExports *
memory_export_try (MemoryTest *f, const char *const *references, GError **error)
{
  SnapExportSource sources[4] = { 0 };
  g_autoptr (GPtrArray) labels = g_ptr_array_new_with_free_func (g_free);
  gsize n;

  for (n = 0; references[n] != NULL; n++) {
    const char *equals = strchr (references[n], '=');

    sources[n].reference = references[n];
    if (equals != NULL) {
      g_ptr_array_add (labels,
                       g_strndup (references[n], equals - references[n]));
      sources[n].label = g_ptr_array_index (labels, labels->len - 1);
      sources[n].reference = equals + 1;
    }
  }
  return snap_exports_resolve (f->registry, f->state, sources, n, NULL, error);
}

SnapExports *
memory_export_resolve (MemoryTest *f, const char *const *references)
{
  GError *error = NULL;
  SnapExports *exports = memory_export_try (f, references, &error);

  g_assert_no_error (error);
  return exports;
}

SnapExport *
memory_export_open (SnapExports *exports, const char *name)
{
  GError *error = NULL;
  SnapExport *export = snap_export_open (exports, name, &error);

  g_assert_no_error (error);
  return export;
}
