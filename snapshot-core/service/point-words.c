/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/point-words.h"

#include "snapshot-core/service/volume.h"

struct _SnapPointWords {
  GHashTable *snapshots; /* names, borrowed: how many snapshots have each */
  GHashTable *all;       /* the same of all points */
};

static void
count (GHashTable *names, const SnapPoint *point)
{
  guint n = GPOINTER_TO_UINT (g_hash_table_lookup (names, point->name));

  g_hash_table_insert (names, point->name, GUINT_TO_POINTER (n + 1));
}

SnapPointWords *
snap_point_words_new (const GPtrArray *points)
{
  SnapPointWords *self = g_new0 (SnapPointWords, 1);

  self->snapshots = g_hash_table_new (g_str_hash, g_str_equal);
  self->all = g_hash_table_new (g_str_hash, g_str_equal);
  for (guint i = 0; i < points->len; i++) {
    const SnapPoint *point = g_ptr_array_index (points, i);

    count (self->all, point);
    if (point->kind == SNAP_POINT_SNAPSHOT)
      count (self->snapshots, point);
  }
  return self;
}

void
snap_point_words_free (SnapPointWords *self)
{
  if (self == NULL)
    return;
  g_hash_table_unref (self->snapshots);
  g_hash_table_unref (self->all);
  g_free (self);
}

/* A name of several, of none, or of something else. */
static gboolean
is_doubtful (GHashTable *names, const char *name)
{
  return GPOINTER_TO_UINT (g_hash_table_lookup (names, name)) > 1
         || *name == '\0' || snap_name_is_reserved (name);
}

const char *
snap_point_words_get (const SnapPointWords *self, const SnapPoint *point)
{
  gboolean doubtful = FALSE;

  if (point->kind == SNAP_POINT_SNAPSHOT)
    doubtful = is_doubtful (self->snapshots, point->name);
  else if (point->kind == SNAP_POINT_CHECKPOINT)
    doubtful = is_doubtful (self->all, point->name);
  return doubtful ? point->id : point->name;
}
