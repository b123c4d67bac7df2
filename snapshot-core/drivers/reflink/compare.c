/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two clones of one file are compared by where their bytes lie.  A clone keeps
 * its blocks from being given to other data, so one place means one content.
 * The file itself is cloned first: its map would move underneath.
 */
#include "config.h"

#include "snapshot-core/drivers/reflink/reflink.h"

#include <errno.h>
#include <sys/statvfs.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/fiemap.h"
#include "snapshot-core/os/reflink.h"

/* A point opened: a snapshot's clone, or a new one of the live file. */
static int
open_side (const ReflinkVolume *volume, const SnapPoint *point, GError **error)
{
  if (point->kind == SNAP_POINT_LIVE)
    return reflink_clone_live (volume, error);
  return reflink_point_open (volume, point, error);
}

/* Which file a point is of; NULL if nobody noted it. */
static char *
find_origin (const ReflinkVolume *volume, const SnapPoint *point,
             GError **error)
{
  snap_autofd int fd = -1;

  if (point->kind == SNAP_POINT_LIVE)
    return g_strdup (volume->origin);
  fd = reflink_point_open (volume, point, error);
  return fd >= 0 ? reflink_clone_get_origin (fd) : NULL;
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
refuse (const SnapDiffRequest *request, const char *fact, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE, "%s@%s..%s: %s",
                         request->to_volume->location, request->from->name,
                         request->to->name, fact);
}

static gboolean
is_file (const SnapPoint *point)
{
  return point->kind == SNAP_POINT_SNAPSHOT || point->kind == SNAP_POINT_LIVE;
}

gboolean
reflink_comparable (const SnapDiffRequest *request, GError **error)
{
  const ReflinkVolume *volume = (ReflinkVolume *) request->to_volume;
  g_autoptr (GError) reason = NULL;
  g_autofree char *from = NULL;
  g_autofree char *to = NULL;

  if (request->from_volume != request->to_volume
      && !g_str_equal (request->from_volume->id, request->to_volume->id))
    return refuse (request, "snapshots of two files", error);
  if (!is_file (request->from) || !is_file (request->to))
    return refuse (request, "only snapshots and the live file can be compared",
                   error);
  from = find_origin (volume, request->from, &reason);
  to = reason == NULL ? find_origin (volume, request->to, &reason) : NULL;
  if (reason != NULL) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return say_base_gone (error);
  }
  if (from == NULL || to == NULL)
    return refuse (request, "it is not known which file they are of", error);
  if (!g_str_equal (from, to))
    return refuse (request, "the file was replaced in between", error);
  return TRUE;
}

static gboolean
read_granularity (int fd, SnapDiffInfo *info, GError **error)
{
  struct statvfs fs;

  if (fstatvfs (fd, &fs) < 0)
    return snap_error_set_errno (error, errno, "block size");
  info->granularity = MAX (fs.f_frsize, 1);
  return TRUE;
}

static gboolean
compare_clones (const SnapDiffRequest *request, guint64 granularity, int from,
                int to, SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const char *name = request->to_volume->location;
  guint64 from_size = request->from->size;
  g_autoptr (SnapFiemap) from_map = snap_fiemap_open (from, name, error);
  g_autoptr (SnapFiemap) to_map =
      from_map != NULL ? snap_fiemap_open (to, name, error) : NULL;

  return to_map != NULL
         && snap_fiemap_compare (from_map, from_size - from_size % granularity,
                                 to_map, request->offset, request->length, emit,
                                 user_data, error);
}

gboolean
reflink_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
              SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const ReflinkVolume *volume = (ReflinkVolume *) request->to_volume;
  snap_autofd int from = open_side (volume, request->from, error);
  snap_autofd int to = from >= 0 ? open_side (volume, request->to, error) : -1;

  /* What is written anew with the same bytes has another place all the same. */
  info->proof = SNAP_PROOF_SUPERSET;
  info->source = "fiemap";
  if (to < 0)
    return say_base_gone (error);
  if (snap_is_realtime (from) != snap_is_realtime (to))
    return refuse (request, "they lie on two devices", error);
  return read_granularity (to, info, error)
         && compare_clones (request, info->granularity, from, to, emit,
                            user_data, error);
}
