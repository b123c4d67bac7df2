/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An example of a driver that is built outside the project: a volume is a
 * folder of full raw copies of one disk, as a nightly job may leave them,
 *
 *   backups/2026-11-22.raw
 *   backups/2026-11-23.raw
 *
 * and each copy is a snapshot.  They can be listed, compared and served:
 *
 *   nbdsnap diff copies:backups@2026-11-22..2026-11-23
 *   nbdkit snapshot copies:backups@2026-11-22..2026-11-23
 *
 * It makes and deletes nothing, so those ops are absent.  There is no metadata
 * that says what changed: all bytes are read.  Read this beside
 * snapshot-core/drivers/driver.h, where each op is explained.
 */
#include <errno.h>
#include <fcntl.h>
#include <gmodule.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/drivers/driver.h"

#define SUFFIX ".raw"

/* What differs is told in these, bytes. */
#define BLOCK 4096
#define BLOCKS_AT_ONCE 256

extern const SnapDriver snap_driver_copies;

/* ---- the volume ---- */

/* A folder with at least one copy in it; somebody else may be surer. */
static int
copies_probe (const char *location)
{
  g_autoptr (GDir) dir = g_dir_open (location, 0, NULL);
  const char *file;

  while (dir != NULL && (file = g_dir_read_name (dir)) != NULL)
    if (g_str_has_suffix (file, SUFFIX))
      return 10;
  return 0;
}

static SnapVolume *
copies_open (const char *location, const char *part,
             const SnapOpenOptions *options, GError **error)
{
  struct stat st;
  SnapVolume *self;

  (void) options;
  if (part != NULL) {
    snap_error_set (error, SNAP_ERROR_USAGE, "%s#%s: a folder has no parts",
                    location, part);
    return NULL;
  }
  if (stat (location, &st) < 0) {
    snap_error_set_errno (error, errno, "%s", location);
    return NULL;
  }
  self = g_new0 (SnapVolume, 1);
  self->driver = &snap_driver_copies;
  self->location = g_strdup (location);
  self->label = g_path_get_basename (location);
  self->id = g_strdup_printf ("%" G_GINT64_MODIFIER "x:%" G_GINT64_MODIFIER "u",
                              (guint64) st.st_dev, (guint64) st.st_ino);
  return self;
}

static void
copies_close (SnapVolume *self)
{
  g_free (self->location);
  g_free (self->label);
  g_free (self->id);
  g_free (self);
}

/* ---- its points ---- */

/* A file that is written to, or replaced, is another point: names can be used
   again, identities must not be. */
static char *
format_identity (const struct stat *st)
{
  return g_strdup_printf ("%" G_GINT64_MODIFIER "u.%" G_GINT64_FORMAT ".%09ld",
                          (guint64) st->st_ino, (gint64) st->st_mtim.tv_sec,
                          st->st_mtim.tv_nsec);
}

/* -1 and errno if it is not there or no plain file. */
static int
open_file (const SnapVolume *volume, const char *file, struct stat *st)
{
  g_autofree char *path = g_build_filename (volume->location, file, NULL);
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

  if (fd < 0)
    return -1;
  if (fstat (fd, st) == 0 && S_ISREG (st->st_mode))
    return fd;
  close (fd);
  errno = ENOENT;
  return -1;
}

/* NULL for what is no copy. */
static SnapPoint *
point_new (const SnapVolume *volume, const char *file)
{
  g_autofree char *name = NULL;
  SnapPoint *point;
  struct stat st;
  int fd;

  if (!g_str_has_suffix (file, SUFFIX) || g_str_equal (file, SUFFIX))
    return NULL;
  fd = open_file (volume, file, &st);
  if (fd < 0)
    return NULL;
  close (fd);
  name = g_strndup (file, strlen (file) - strlen (SUFFIX));
  point = snap_point_new (SNAP_POINT_SNAPSHOT, name);
  point->id = format_identity (&st);
  point->handle = g_strdup (file);
  point->size = st.st_size;
  point->time_us =
      (gint64) st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000;
  return point;
}

static gint
compare_age (gconstpointer a, gconstpointer b)
{
  const SnapPoint *x = *(SnapPoint *const *) a;
  const SnapPoint *y = *(SnapPoint *const *) b;

  if (x->time_us != y->time_us)
    return x->time_us < y->time_us ? -1 : 1;
  return strcmp (x->name, y->name);
}

static GPtrArray *
copies_list (SnapVolume *volume, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (GDir) dir = g_dir_open (volume->location, 0, &reason);
  GPtrArray *points;
  const char *file;

  if (dir == NULL) {
    snap_error_set (error, SNAP_ERROR_IO, "%s: %s", volume->location,
                    reason->message);
    return NULL;
  }
  points = g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);
  while ((file = g_dir_read_name (dir)) != NULL) {
    SnapPoint *point = point_new (volume, file);

    if (point != NULL)
      g_ptr_array_add (points, point);
  }
  g_ptr_array_sort (points, compare_age);
  return points;
}

/* The file that @point was when it was listed; -1 on error. */
static int
open_point (const SnapVolume *volume, const SnapPoint *point, GError **error)
{
  struct stat st;
  int fd = open_file (volume, point->handle, &st);
  g_autofree char *id = fd >= 0 ? format_identity (&st) : NULL;

  if (g_strcmp0 (id, point->id) == 0)
    return fd;
  if (fd >= 0)
    close (fd);
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s@%s: is gone or was changed",
                  volume->location, point->name);
  return -1;
}

/* ---- reading ---- */

typedef struct {
  SnapImage parent;
  char *name;
  int fd;
} CopiesImage;

static gboolean
read_all (int fd, const char *name, guint64 offset, void *buffer, gsize length,
          GError **error)
{
  for (gsize done = 0; done < length;) {
    gssize n = pread (fd, (char *) buffer + done, length - done, offset + done);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return snap_error_set_errno (error, errno, "%s", name);
    if (n == 0)
      return snap_error_set (error, SNAP_ERROR_IO, "%s: became shorter", name);
    done += n;
  }
  return TRUE;
}

static gboolean
image_read_at (SnapImage *image, guint64 offset, void *buffer, gsize length,
               GError **error)
{
  const CopiesImage *self = (CopiesImage *) image;

  return read_all (self->fd, self->name, offset, buffer, length, error);
}

/* That all is data is always a right answer. */
static gboolean
image_extents (SnapImage *image, guint64 offset, guint64 length,
               SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const SnapExtent all = { offset, length, 0 };
  GError *reason = NULL;

  (void) image;
  if (emit (&all, user_data, &reason) || reason == NULL)
    return TRUE;
  g_propagate_error (error, reason);
  return FALSE;
}

static void
image_close (SnapImage *image)
{
  CopiesImage *self = (CopiesImage *) image;

  close (self->fd);
  g_free (self->name);
  g_free (self);
}

/* No file_range: nobody keeps these files from being written to. */
static const SnapImageOps image_ops = {
  .struct_size = sizeof (SnapImageOps),
  .read_at = image_read_at,
  .extents = image_extents,
  .close = image_close,
};

static SnapImage *
copies_open_image (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  int fd = open_point (volume, point, error);
  CopiesImage *self;

  if (fd < 0)
    return NULL;
  self = g_new0 (CopiesImage, 1);
  self->parent.ops = &image_ops;
  self->parent.size = point->size;
  self->name = g_strdup_printf ("%s@%s", volume->location, point->name);
  self->fd = fd;
  return &self->parent;
}

/* ---- what changed ---- */

static gboolean
copies_comparable (const SnapDiffRequest *request, GError **error)
{
  if (request->from->kind == SNAP_POINT_SNAPSHOT
      && request->to->kind == SNAP_POINT_SNAPSHOT)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_NOT_COMPARABLE,
                         "%s@%s..%s: only copies can be compared",
                         request->to_volume->location, request->from->name,
                         request->to->name);
}

static gboolean
is_zero (const guint8 *block, gsize length)
{
  return block[0] == 0 && memcmp (block, block + 1, length - 1) == 0;
}

/* The blocks of @to, @length bytes from @offset on, that are not as in
   @from. */
static gboolean
emit_blocks (const guint8 *from, const guint8 *to, guint64 offset, gsize length,
             SnapExtentFunc emit, gpointer user_data, GError **error)
{
  for (gsize at = 0; at < length; at += BLOCK) {
    gsize n = MIN (length - at, BLOCK);
    SnapExtent block = { offset + at, n, SNAP_EXTENT_DIRTY };

    if (memcmp (from + at, to + at, n) == 0)
      continue;
    if (is_zero (to + at, n))
      block.flags |= SNAP_EXTENT_ZERO;
    if (!emit (&block, user_data, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
compare_files (const SnapDiffRequest *request, int from, int to,
               SnapExtentFunc emit, gpointer user_data, GError **error)
{
  const char *name = request->to_volume->location;
  /* The service makes all bytes dirty that the older point has not. */
  guint64 end = MIN (request->offset + request->length, request->from->size);
  g_autofree guint8 *old = g_malloc (BLOCKS_AT_ONCE * BLOCK);
  g_autofree guint8 *new = g_malloc (BLOCKS_AT_ONCE * BLOCK);

  for (guint64 at = request->offset; at < end;) {
    gsize n = MIN (end - at, BLOCKS_AT_ONCE * BLOCK);

    if (!read_all (from, name, at, old, n, error)
        || !read_all (to, name, at, new, n, error)
        || !emit_blocks (old, new, at, n, emit, user_data, error))
      return FALSE;
    at += n;
  }
  return TRUE;
}

static gboolean
copies_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
             SnapExtentFunc emit, gpointer user_data, GError **error)
{
  int from = open_point (request->from_volume, request->from, error);
  int to = from >= 0 ? open_point (request->to_volume, request->to, error) : -1;
  gboolean done = FALSE;

  *info = (SnapDiffInfo){ BLOCK, SNAP_PROOF_EXACT, "bytes" };
  if (to >= 0) {
    done = compare_files (request, from, to, emit, user_data, error);
    close (to);
  }
  if (from >= 0)
    close (from);
  return done;
}

/* ---- the driver ---- */

const SnapDriver snap_driver_copies = {
  SNAP_DRIVER_INIT,
  .name = "copies",
  .description = "full raw copies of one disk in a folder",
  .probe = copies_probe,
  .open = copies_open,
  .close = copies_close,
  .list = copies_list,
  .comparable = copies_comparable,
  .diff = copies_diff,
  .open_image = copies_open_image,
};

SNAP_DRIVER_EXPORT (snap_driver_copies)
