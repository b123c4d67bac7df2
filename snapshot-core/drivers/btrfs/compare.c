/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both sides are read-only snapshots, so that nothing about them changes but
 * where the file system keeps their data: a balance may move it while we look,
 * and what it leaves may be given to other data.  Each such move writes the
 * root of a tree whose extents it moves, and the place is free for others
 * only after that was committed; so a comparison counts if both roots are of
 * the generation that they were of before.
 */
#include "config.h"

#include "snapshot-core/drivers/btrfs/btrfs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "snapshot-core/format/btrfs-diff.h"
#include "snapshot-core/os/btrfs-ioctl.h"
#include "snapshot-core/os/fiemap.h"
#include "snapshot-core/os/reflink.h"

/* Threads that search the trees; the kernel is what takes the time. */
#define MAX_THREADS 4

/* How often to begin anew when data moves underneath. */
#define MAX_ATTEMPTS 8

/* ---- what can be compared ---- */

static gboolean
refuse (const SnapDiffRequest *request, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s@%s..%s: %s",
                         request->to_volume->location, request->from->name,
                         request->to->name, fact);
}

/* A snapshot that went away after it was resolved is a base that is gone. */
static gboolean
say_base_gone (GError **error)
{
  if (error != NULL
      && g_error_matches (*error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND))
    (*error)->code = SNAP_ERROR_NOT_COMPARABLE;
  return FALSE;
}

static gboolean
is_file (const SnapPoint *point)
{
  return point->kind == SNAP_POINT_SNAPSHOT || point->kind == SNAP_POINT_LIVE;
}

/* Which file a point is of: its inode number, and which use of that. */
typedef struct {
  guint64 inode_number;
  guint32 generation;
} FileIdentity;

static gboolean
identify (int fd, FileIdentity *identity, GError **error)
{
  struct stat st;

  if (fstat (fd, &st) < 0)
    return snap_error_set_errno (error, errno, "file");
  identity->inode_number = st.st_ino;
  identity->generation = snap_inode_generation (fd);
  return TRUE;
}

static gboolean
identify_point (const BtrfsVolume *volume, const SnapPoint *point,
                FileIdentity *identity, GError **error)
{
  g_auto (BtrfsSide) side = { .fd = -1 };

  if (point->kind == SNAP_POINT_LIVE)
    return identify (volume->fd, identity, error);
  return btrfs_point_open (volume, point, &side, error)
         && identify (side.fd, identity, error);
}

static gboolean
is_same_file (const FileIdentity *a, const FileIdentity *b)
{
  return a->inode_number == b->inode_number && a->generation == b->generation;
}

gboolean
btrfs_comparable (const SnapDiffRequest *request, GError **error)
{
  const BtrfsVolume *volume = (BtrfsVolume *) request->to_volume;
  FileIdentity from = { 0 };
  FileIdentity to = { 0 };

  if (request->from_volume != request->to_volume
      && !g_str_equal (request->from_volume->id, request->to_volume->id))
    return refuse (request, "snapshots of two files", error);
  if (!is_file (request->from) || !is_file (request->to))
    return refuse (request, "only snapshots and the live file can be compared",
                   error);
  if (!identify_point (volume, request->from, &from, error)
      || !identify_point (volume, request->to, &to, error))
    return say_base_gone (error);
  return is_same_file (&from, &to)
         || refuse (request, "the file was replaced in between", error);
}

/* ---- by the tree ---- */

typedef struct {
  const SnapDiffRequest *request;
  const BtrfsVolume *volume;
  BtrfsSide from, to;
  guint64 granularity;
} Job;

static void
job_clear (Job *self)
{
  btrfs_side_clear (&self->from);
  btrfs_side_clear (&self->to);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Job, job_clear)

static gboolean
open_side (const BtrfsVolume *volume, const SnapPoint *point, BtrfsSide *side,
           GError **error)
{
  if (point->kind != SNAP_POINT_LIVE)
    return btrfs_point_open (volume, point, side, error);
  if (snap_btrfs_may_search (volume->fd))
    return btrfs_live_open (volume, side, error);
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                         "%s@live: a temporary snapshot needs CAP_SYS_ADMIN",
                         volume->parent.location);
}

static gboolean
job_open (Job *self, GError **error)
{
  FileIdentity from = { 0 };
  FileIdentity to = { 0 };

  if (!open_side (self->volume, self->request->from, &self->from, error)
      || !open_side (self->volume, self->request->to, &self->to, error))
    return say_base_gone (error);
  if (!identify (self->from.fd, &from, error)
      || !identify (self->to.fd, &to, error)
      || !snap_btrfs_sector_size (self->to.fd, &self->granularity, error))
    return FALSE;
  return is_same_file (&from, &to)
         || refuse (self->request, "the file was replaced in between", error);
}

/*
 * Whether @newer descends from @older by changes of their common parent alone,
 * so that its leaves from before the older cut are the older one's too.
 */
static gboolean
descends (const SnapBtrfsSubvolume *older, const SnapBtrfsSubvolume *newer)
{
  return memcmp (older->parent_uuid, newer->parent_uuid, SNAP_BTRFS_UUID_LENGTH)
             == 0
         && older->created < newer->created
         && !snap_btrfs_subvolume_was_changed (older)
         && !snap_btrfs_subvolume_was_changed (newer);
}

static void
find_lineage (const Job *self, SnapBtrfsDiff *diff)
{
  const SnapBtrfsSubvolume *from = &self->from.subvolume;
  const SnapBtrfsSubvolume *to = &self->to.subvolume;

  if (descends (from, to))
    diff->since = from->created + 1;
  else if (descends (to, from))
    diff->since = to->created + 1;
  diff->from_is_newer = descends (to, from);
}

/* The map is freed by the caller, also after an error. */
static gboolean
open_map (int fd, SnapBtrfsSide *side, GError **error)
{
  SnapBtrfsInode inode;
  struct stat st;

  if (fstat (fd, &st) < 0)
    return snap_error_set_errno (error, errno, "file");
  if (!btrfs_read_inode (fd, st.st_ino, &inode, error))
    return FALSE;
  side->map = btrfs_tree_map_new (fd, st.st_ino);
  side->size = inode.size;
  side->allocated = inode.allocated;
  side->looks_full =
      !inode.may_be_preallocated && inode.allocated == inode.size;
  return TRUE;
}

static SnapExtents *
compare_trees (const Job *self, const char **source, GError **error)
{
  SnapBtrfsDiff diff = { .granularity = self->granularity,
                         .n_threads =
                             MIN (g_get_num_processors (), MAX_THREADS) };
  SnapBtrfsMethod method = SNAP_BTRFS_BY_WALK;
  SnapExtents *dirty = NULL;

  find_lineage (self, &diff);
  if (open_map (self->from.fd, &diff.from, error)
      && open_map (self->to.fd, &diff.to, error))
    dirty = snap_btrfs_diff (&diff, self->request->offset,
                             self->request->length, &method, error);
  *source = method == SNAP_BTRFS_BY_CANDIDATES ? "btrfs-leaves" : "btrfs-tree";
  btrfs_tree_map_free (diff.from.map);
  btrfs_tree_map_free (diff.to.map);
  return dirty;
}

/* ---- by FIEMAP, where the tree may not be searched ---- */

static SnapExtents *
compare_fiemaps (const Job *self, const char **source, GError **error)
{
  const char *name = self->request->to_volume->location;
  guint64 from_size = self->request->from->size;
  g_autoptr (SnapFiemap) from = snap_fiemap_open (self->from.fd, name, error);
  g_autoptr (SnapFiemap) to =
      from != NULL ? snap_fiemap_open (self->to.fd, name, error) : NULL;
  g_autoptr (SnapExtents) dirty = snap_extents_new ();

  *source = "fiemap";
  if (to == NULL
      || !snap_fiemap_compare (from, from_size - from_size % self->granularity,
                               to, self->request->offset, self->request->length,
                               snap_extents_append_func, dirty, error))
    return NULL;
  return g_steal_pointer (&dirty);
}

/* ---- until it counts ---- */

static gboolean
read_generation (const Job *self, const SnapPoint *point, const BtrfsSide *side,
                 guint64 *generation, GError **error)
{
  SnapBtrfsSubvolume now;

  /* The live side's snapshot is deleted already, and known by its id only. */
  if (point->kind == SNAP_POINT_LIVE)
    return snap_btrfs_subvolume_generation (
        self->volume->top_fd, side->subvolume.id, generation, error);
  if (!snap_btrfs_subvolume_read (side->fd, &now, error))
    return FALSE;
  *generation = now.generation;
  return TRUE;
}

typedef struct {
  guint64 from, to;
} Generations;

static gboolean
read_generations (const Job *self, Generations *now, GError **error)
{
  return read_generation (self, self->request->from, &self->from, &now->from,
                          error)
         && read_generation (self, self->request->to, &self->to, &now->to,
                             error);
}

typedef SnapExtents *(*Comparer) (const Job *job, const char **source,
                                  GError **error);

/* NULL without an error if data was moved meanwhile. */
static SnapExtents *
compare_once (const Job *self, Comparer compare, const char **source,
              GError **error)
{
  g_autoptr (SnapExtents) dirty = NULL;
  Generations before = { 0 };
  Generations after = { 0 };

  if (!read_generations (self, &before, error))
    return NULL;
  dirty = compare (self, source, error);
  if (dirty == NULL || !read_generations (self, &after, error)
      || before.from != after.from || before.to != after.to)
    return NULL;
  return g_steal_pointer (&dirty);
}

static SnapExtents *
compare_until_it_counts (const Job *self, Comparer compare, const char **source,
                         GError **error)
{
  for (int i = 0; i < MAX_ATTEMPTS; i++) {
    g_autoptr (GError) reason = NULL;
    SnapExtents *dirty = compare_once (self, compare, source, &reason);

    if (dirty != NULL)
      return dirty;
    if (reason != NULL) {
      g_propagate_prefixed_error (error, g_steal_pointer (&reason),
                                  "%s: ", self->volume->parent.location);
      return NULL;
    }
  }
  snap_error_set (error, SNAP_ERROR_BUSY,
                  "%s: its data is being moved, by a balance perhaps",
                  self->volume->parent.location);
  return NULL;
}

static gboolean
emit_all (const SnapExtents *dirty, SnapExtentFunc emit, gpointer user_data,
          GError **error)
{
  for (gsize i = 0; i < snap_extents_n (dirty); i++)
    if (!emit (snap_extents_at (dirty, i), user_data, error))
      return FALSE;
  return TRUE;
}

gboolean
btrfs_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
            SnapExtentFunc emit, gpointer user_data, GError **error)
{
  g_auto (Job) job = { .request = request,
                       .volume = (BtrfsVolume *) request->to_volume,
                       .from = { .fd = -1 },
                       .to = { .fd = -1 } };
  g_autoptr (SnapExtents) dirty = NULL;
  gboolean may_search = snap_btrfs_may_search (job.volume->top_fd);

  if (!job_open (&job, error))
    return FALSE;
  info->granularity = job.granularity;
  /* What is written anew with the same bytes has another place all the same. */
  info->proof = SNAP_PROOF_SUPERSET;
  dirty = compare_until_it_counts (
      &job, may_search ? compare_trees : compare_fiemaps, &info->source, error);
  return dirty != NULL && emit_all (dirty, emit, user_data, error);
}
