/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Diffs of classic snapshots, from their exception stores.
 *
 * Against the live volume: the snapshot's whole table.  Between two: the first
 * entries of the older one up to the watermark that was noted when the
 * younger one was cut; without it both tables together, which hold more.  The
 * clock decides nothing: it may have been set back.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <errno.h>
#include <fcntl.h>

#include "snapshot-core/format/cow-store.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"

/* ---- one store ---- */

/* The kernel keeps the store as a device of its own beside the snapshot. */
static SnapReader *
open_reader (const SnapLvmVolume *snapshot, GError **error)
{
  g_autofree char *path = g_strconcat (snapshot->dm_path, "-cow", NULL);
  snap_autofd int fd = open (path, O_RDONLY | O_DIRECT | O_CLOEXEC);

  if (fd < 0) {
    snap_error_set_errno (error, errno, "%s", path);
    return NULL;
  }
  return snap_file_reader_take (snap_fd_steal (&fd), SNAP_FILE_DIRECT, path,
                                error);
}

typedef struct {
  SnapReader *reader;
  SnapCowStore *store;
  GArray *chunks; /* old chunks, ascending */
} Table;

static void
table_clear (Table *self)
{
  g_clear_pointer (&self->chunks, g_array_unref);
  snap_cow_store_free (self->store);
  if (self->reader != NULL)
    snap_reader_free (self->reader);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Table, table_clear)

static gboolean
table_read (Table *self, const SnapLvmVolume *snapshot, guint64 limit,
            GError **error)
{
  self->reader = open_reader (snapshot, error);
  if (self->reader == NULL)
    return FALSE;
  self->store = snap_cow_store_open (self->reader, snapshot->name, error);
  if (self->store == NULL)
    return FALSE;
  self->chunks = snap_cow_store_read (self->store, limit, error);
  return self->chunks != NULL;
}

/* ---- which tables ---- */

static gboolean
refuse (const SnapDiffRequest *request, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s@%s..%s: %s",
                         request->to_volume->location, request->from->name,
                         request->to->name, fact);
}

/* A table that is not whole must never be read as one. */
static gboolean
check_whole (const SnapDiffRequest *request, const SnapLvmVolume *snapshot,
             GError **error)
{
  guint64 count;

  if (snapshot->merging)
    return refuse (request, "a snapshot is being merged", error);
  if (snapshot->invalid)
    return refuse (request, "a snapshot has overflowed", error);
  if (!snapshot->active)
    return refuse (request, "a snapshot is not active", error);
  return lvm_classic_count (snapshot, &count, error);
}

gboolean
lvm_classic_comparable (const SnapDiffRequest *request,
                        const SnapLvmVolume *from, const SnapLvmVolume *to,
                        GError **error)
{
  const SnapPoint *const points[] = { request->from, request->to };
  const SnapLvmVolume *const sides[] = { from, to };

  for (gsize i = 0; i < G_N_ELEMENTS (sides); i++)
    if (points[i]->kind == SNAP_POINT_SNAPSHOT
        && !check_whole (request, sides[i], error))
      return FALSE;
  return TRUE;
}

/* How many entries of @older were there when @younger was cut; FALSE if that
   was not noted. */
static gboolean
find_mark (const SnapLvmVolume *older, const SnapPoint *younger, guint64 *n)
{
  g_autofree char *tag = NULL;
  const char *text;

  if (younger->set_id == NULL)
    return FALSE;
  tag = lvm_classic_mark_tag (younger->set_id);
  text = snap_lvm_volume_tag (older, tag);
  return text != NULL
         && g_ascii_string_to_unsigned (text, 10, 0, G_MAXINT64, n, NULL);
}

/* ---- the diff ---- */

static gboolean
emit_table (const SnapLvmVolume *snapshot, guint64 limit,
            const SnapDiffRequest *request, SnapDiffInfo *info,
            SnapExtentFunc emit, gpointer user_data, GError **error)
{
  g_auto (Table) table = { 0 };

  if (!table_read (&table, snapshot, limit, error))
    return FALSE;
  info->granularity = snap_cow_store_chunk_size (table.store);
  return snap_cow_store_emit (table.store, table.chunks, request->offset,
                              request->offset + request->length, emit,
                              user_data, error);
}

static gboolean
emit_extents (const SnapExtents *extents, SnapExtentFunc emit,
              gpointer user_data, GError **error)
{
  for (gsize i = 0; i < snap_extents_n (extents); i++)
    if (!emit (snap_extents_at (extents, i), user_data, error))
      return FALSE;
  return TRUE;
}

/* Both tables whole: what changed since the older one is in them, whichever
   that is. */
static gboolean
emit_union (const SnapLvmVolume *from, const SnapLvmVolume *to,
            const SnapDiffRequest *request, SnapDiffInfo *info,
            SnapExtentFunc emit, gpointer user_data, GError **error)
{
  g_autoptr (SnapExtents) first = snap_extents_new ();
  g_autoptr (SnapExtents) second = snap_extents_new ();
  g_autoptr (SnapExtents) both = NULL;
  guint64 granularity;

  if (!emit_table (from, G_MAXUINT64, request, info, snap_extents_append_func,
                   first, error))
    return FALSE;
  granularity = info->granularity;
  if (!emit_table (to, G_MAXUINT64, request, info, snap_extents_append_func,
                   second, error))
    return FALSE;
  info->granularity = MIN (granularity, info->granularity);
  info->proof = SNAP_PROOF_SUPERSET;
  both = snap_extents_union (first, second);
  return emit_extents (both, emit, user_data, error);
}

gboolean
lvm_classic_diff (const SnapDiffRequest *request, const SnapLvmVolume *from,
                  const SnapLvmVolume *to, SnapDiffInfo *info,
                  SnapExtentFunc emit, gpointer user_data, GError **error)
{
  gboolean from_live = request->from->kind == SNAP_POINT_LIVE;
  gboolean to_live = request->to->kind == SNAP_POINT_LIVE;
  guint64 n;

  info->granularity = 1;
  info->proof = SNAP_PROOF_EXACT;
  info->source = "lvm-cow";
  if (from_live && to_live)
    return TRUE;
  if (from_live || to_live)
    return emit_table (from_live ? to : from, G_MAXUINT64, request, info, emit,
                       user_data, error);
  if (g_str_equal (from->uuid, to->uuid))
    return TRUE;
  if (find_mark (from, request->to, &n))
    return emit_table (from, n, request, info, emit, user_data, error);
  if (find_mark (to, request->from, &n))
    return emit_table (to, n, request, info, emit, user_data, error);
  return emit_union (from, to, request, info, emit, user_data, error);
}
