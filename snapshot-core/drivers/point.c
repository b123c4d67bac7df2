/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/driver.h"

SnapPoint *
snap_point_new (SnapPointKind kind, const char *name)
{
  SnapPoint *self = g_new0 (SnapPoint, 1);

  self->kind = kind;
  self->name = g_strdup (name);
  return self;
}

SnapPoint *
snap_point_dup (const SnapPoint *self)
{
  SnapPoint *copy = g_new (SnapPoint, 1);

  *copy = *self;
  copy->name = g_strdup (self->name);
  copy->id = g_strdup (self->id);
  copy->handle = g_strdup (self->handle);
  copy->set_id = g_strdup (self->set_id);
  return copy;
}

void
snap_point_free (SnapPoint *self)
{
  if (self == NULL)
    return;
  g_free (self->name);
  g_free (self->id);
  g_free (self->handle);
  g_free (self->set_id);
  g_free (self);
}
