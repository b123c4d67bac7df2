/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/base/quiesce.h"

static const char *const names[] = {
  [SNAP_QUIESCE_NONE] = "none",
  [SNAP_QUIESCE_PAUSE] = "pause",
  [SNAP_QUIESCE_AGENT] = "agent",
};

const char *
snap_quiesce_name (SnapQuiesce quiesce)
{
  return names[quiesce];
}

gboolean
snap_quiesce_parse (const char *name, SnapQuiesce *quiesce)
{
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    if (g_str_equal (names[i], name)) {
      *quiesce = (SnapQuiesce) i;
      return TRUE;
    }
  return FALSE;
}
