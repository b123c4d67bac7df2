/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creating and deleting internal snapshots.  qemu-img does both: the reference
 * counts of a qcow2 image are QEMU's to write.
 *
 * The image is handed to it as a descriptor, so that it works on the file that
 * was checked, whatever the path names by then; our read lock is off while it
 * runs.
 */
#include "config.h"

#include "snapshot-core/drivers/qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "snapshot-core/drivers/builtin.h"
#include "snapshot-core/drivers/record.h"
#include "snapshot-core/os/command.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"
#include "snapshot-core/os/image-lock.h"

/* As the options name them: 3 is the image, backing files follow. */
#define FIRST_CHAIN_FD 3

/* A snapshot of a huge image copies its L1 table and updates refcounts; a slow
   disk may take its time, a dead one must not hold us for ever. */
#define QEMU_IMG_TIMEOUT_MS (10 * 60 * 1000)

/* In a record, where there is no key: no absolute path. */
#define NO_SECRET "-"

/* How long we wait for the image after qemu-img is done with it. */
#define RELOAD_MS 3000
#define RELOAD_LOOK_MS 50

typedef struct {
  SnapCut parent;
  char *native_name;
  gboolean changed; /* qemu-img did, or may have done, something */
} Qcow2Cut;

/* ---- running qemu-img on a volume ---- */

/* Forget what was parsed and look again; the lock is taken anew.  Somebody
   may have used the moment without it, who is waited for a little. */
static gboolean
reload (Qcow2Volume *self, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (RELOAD_MS);
  GPtrArray *chain = NULL;

  while (chain == NULL) {
    GError *reason = NULL;

    chain = qcow2_chain_open (self->parent.location, &reason);
    if (chain != NULL)
      break;
    if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY)
        || snap_deadline_left_ms (deadline) == 0) {
      g_propagate_error (error, reason);
      return FALSE;
    }
    g_error_free (reason);
    g_usleep (RELOAD_LOOK_MS * 1000);
  }
  g_ptr_array_unref (self->chain);
  self->chain = chain;
  return TRUE;
}

/*
 * qemu-img has one exit code for everything.  Somebody who has the image open
 * is worth telling apart: trying again helps, and nothing was changed.
 */
static GError *
explain_failure (const Qcow2Volume *self, const GError *failure)
{
  g_autofree char *words =
      qcow2_chain_explain (self->chain, FIRST_CHAIN_FD, failure->message);

  if (strstr (failure->message, "Failed to get \"") != NULL)
    return g_error_new (SNAP_ERROR, SNAP_ERROR_BUSY,
                        "%s: in use by another process (it holds a lock that "
                        "keeps QEMU from writing)",
                        self->parent.location);
  return g_error_new (SNAP_ERROR, failure->code, "%s: %s",
                      self->parent.location, words);
}

/* qemu-img with @arguments, on the image of @self. */
static gboolean
run_qemu_img (Qcow2Volume *self, const char *const *arguments, GError **error)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autofree char *image = qcow2_chain_describe (self->chain, FIRST_CHAIN_FD,
                                                 self->secret_file != NULL);
  g_autofree char *secret = qcow2_secret_object (self);
  g_autoptr (GArray) fds = qcow2_chain_reopen (self->chain, error);
  g_autofree SnapChildFd *mapping = g_new (SnapChildFd, self->chain->len);
  SnapCommandOptions options = { .fds = mapping,
                                 .n_fds = self->chain->len,
                                 .timeout_ms = QEMU_IMG_TIMEOUT_MS };

  if (fds == NULL)
    return FALSE;
  for (guint i = 0; i < fds->len; i++)
    mapping[i] =
        (SnapChildFd){ g_array_index (fds, int, i), FIRST_CHAIN_FD + i };
  g_ptr_array_add (argv, (char *) "qemu-img");
  for (; *arguments != NULL; arguments++)
    g_ptr_array_add (argv, (char *) *arguments);
  if (secret != NULL) {
    g_ptr_array_add (argv, (char *) "--object");
    g_ptr_array_add (argv, secret);
  }
  g_ptr_array_add (argv, image);
  g_ptr_array_add (argv, NULL);
  return snap_command_run ((const char *const *) argv->pdata, &options, NULL,
                           error);
}

/* Let qemu-img change the image: our lock is off meanwhile, and what was
   parsed is forgotten.  *touched, also on error, unless qemu-img did not get
   to change anything. */
static gboolean
change_image (Qcow2Volume *self, const char *const *arguments,
              gboolean *touched, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (self);
  g_autoptr (GError) failure = NULL;
  GError *reason;

  *touched = TRUE;
  snap_image_unlock (snap_file_reader_fd (file->reader));
  if (run_qemu_img (self, arguments, &failure))
    return reload (self, error);
  reload (self, NULL);
  reason = explain_failure (self, failure);
  *touched = reason->code != SNAP_ERROR_BUSY;
  g_propagate_error (error, reason);
  return FALSE;
}

static gboolean
change_snapshot (Qcow2Volume *self, const char *action, const char *native_name,
                 gboolean *touched, GError **error)
{
  const char *arguments[] = { "snapshot", "-q", action, native_name, NULL };

  return change_image (self, arguments, touched, error);
}

/* After a qemu-img that was killed: references that were counted but not yet
   written, or the other way round. */
static gboolean
repair (Qcow2Volume *self, GError **error)
{
  static const char *const arguments[] = { "check", "-q", "-r", "all", NULL };
  gboolean touched;

  return change_image (self, arguments, &touched, error);
}

/* How many snapshots of that native name the image holds now. */
static gboolean
count_snapshots (const Qcow2Volume *self, const char *native_name, guint *n,
                 GError **error)
{
  const Qcow2File *file = qcow2_volume_file (self);
  g_autoptr (GPtrArray) all =
      snap_qcow2_snapshots_read (file->reader, file->header, error);

  *n = 0;
  for (guint i = 0; all != NULL && i < all->len; i++) {
    const SnapQcow2Snapshot *snapshot = g_ptr_array_index (all, i);

    *n += g_str_equal (snapshot->name, native_name);
  }
  return all != NULL;
}

/*
 * Delete by native name.  qemu-img knows snapshots by name only and takes the
 * first; a name of ours is in the image once, unless somebody forged it.
 */
static gboolean
delete_snapshot (Qcow2Volume *self, const char *native_name, GError **error)
{
  gboolean touched;
  guint n;

  if (!count_snapshots (self, native_name, &n, error))
    return FALSE;
  if (n > 1)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: holds %u snapshots of the name %s",
                           self->parent.location, n, native_name);
  return n == 0 || change_snapshot (self, "-d", native_name, &touched, error);
}

/* ---- plan ---- */

/*
 * Room for the new L1 table, a new snapshot table, and a refcount block or
 * two; QEMU fails in the middle when there is none.
 */
static gboolean
check_room (const Qcow2Volume *self, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (self);
  const SnapQcow2Header *header = file->header;
  guint64 needed = header->l1_size * 8 + 4 * header->cluster_size
                   + (header->n_snapshots + 1) * G_GUINT64_CONSTANT (512);
  struct statvfs fs;

  if (fstatvfs (snap_file_reader_fd (file->reader), &fs) < 0)
    return snap_error_set_errno (error, errno, "%s", file->path);
  if (fs.f_bavail * (guint64) fs.f_frsize >= needed)
    return TRUE;
  return snap_error_set (
      error, SNAP_ERROR_NO_SPACE,
      "%s: a snapshot needs %" G_GUINT64_FORMAT
      " bytes and its file system has %" G_GUINT64_FORMAT " free",
      file->path, needed, fs.f_bavail * (guint64) fs.f_frsize);
}

/* qemu-img would fail half-way in our own phases, where a failure counts as a
   change. */
static gboolean
check_writable (const Qcow2Volume *self, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (self);
  g_autofree char *path =
      g_strdup_printf ("/proc/self/fd/%d", snap_file_reader_fd (file->reader));
  snap_autofd int fd = open (path, O_RDWR | O_CLOEXEC);

  return fd >= 0
         || snap_error_set_errno (error, errno, "%s: open for writing",
                                  file->path);
}

/* QEMU opens an encrypted image for writing only with its key. */
static gboolean
check_key (const Qcow2Volume *self, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (self);

  return file->header->crypt_method == 0 || self->secret_file != NULL
         || snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                            "%s: encrypted, and no secret file was given",
                            file->path);
}

static gboolean
ignore_extent (const SnapExtent *extent, gpointer user_data, GError **error)
{
  return TRUE;
}

/*
 * Compare the live image with what every snapshot holds.  Not for the result:
 * a comparison fails where the two share a cluster that is written in place,
 * and one more snapshot would hide that for ever.
 */
static gboolean
check_sharing (const Qcow2Volume *self, GError **error)
{
  const Qcow2File *file = qcow2_volume_file (self);
  const SnapPoint now = { .kind = SNAP_POINT_LIVE, .name = (char *) "live" };
  g_autoptr (SnapQcow2Layer) live = qcow2_point_layer (self, &now, error);
  g_autoptr (GPtrArray) all = NULL;

  if (live != NULL)
    all = snap_qcow2_snapshots_read (file->reader, file->header, error);
  for (guint i = 0; all != NULL && i < all->len; i++) {
    g_autoptr (SnapPoint) point = qcow2_point_new (all->pdata[i]);
    g_autoptr (SnapQcow2Layer) layer = qcow2_point_layer (self, point, error);

    if (layer == NULL
        || !snap_qcow2_diff (layer, live, 0, 0,
                             MIN (point->size, file->header->size),
                             ignore_extent, NULL, error)) {
      g_prefix_error (error, "%s: ", file->path);
      return FALSE;
    }
  }
  return all != NULL;
}

/* The path of the key, not the key: recovery needs it as much as we do. */
static char *
format_record (const Qcow2Volume *self, const char *native_name)
{
  return snap_record_format ((const char *[]){
      qcow2_volume_file (self)->path, native_name,
      self->secret_file != NULL ? self->secret_file : NO_SECRET, NULL });
}

SnapCut *
qcow2_plan (SnapVolume *volume, const char *name, const char *set_id,
            char **record, GError **error)
{
  Qcow2Volume *self = (Qcow2Volume *) volume;
  g_autofree char *chain = qcow2_chain_name (self->chain);
  Qcow2Cut *cut;

  if (!check_writable (self, error) || !check_key (self, error)
      || !check_room (self, error) || !check_sharing (self, error))
    return NULL;
  cut = g_new0 (Qcow2Cut, 1);
  cut->parent.volume = volume;
  cut->parent.expected_ms = 100;
  cut->native_name = qcow2_name_native (name, set_id, chain);
  *record = format_record (self, cut->native_name);
  return &cut->parent;
}

/* ---- cut, commit, abort ---- */

static gboolean
cut_one (Qcow2Cut *cut, GError **error)
{
  Qcow2Volume *self = (Qcow2Volume *) cut->parent.volume;

  return change_snapshot (self, "-c", cut->native_name, &cut->changed, error);
}

/* Our own lock on a backing file would keep qemu-img out of it, for ever. */
static gboolean
check_apart (const Qcow2Volume *over, const Qcow2Volume *below, GError **error)
{
  const Qcow2File *image = qcow2_volume_file (below);

  for (guint i = 1; over != below && i < over->chain->len; i++) {
    const Qcow2File *file = g_ptr_array_index (over->chain, i);

    if (file->device == image->device && file->inode == image->inode)
      return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                             "%s: is a backing file of %s in the same set",
                             below->parent.location, over->parent.location);
  }
  return TRUE;
}

static gboolean
check_all_apart (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    for (gsize j = 0; j < n_cuts; j++)
      if (!check_apart ((Qcow2Volume *) cuts[i]->volume,
                        (Qcow2Volume *) cuts[j]->volume, error))
        return FALSE;
  return TRUE;
}

gboolean
qcow2_cut (SnapCut **cuts, gsize n_cuts, GError **error)
{
  if (!check_all_apart (cuts, n_cuts, error))
    return FALSE;
  for (gsize i = 0; i < n_cuts; i++)
    if (!cut_one ((Qcow2Cut *) cuts[i], error))
      return FALSE;
  return TRUE;
}

gboolean
qcow2_commit (SnapCut *cut, GError **error)
{
  return TRUE;
}

gboolean
qcow2_abort (SnapCut *cut, GError **error)
{
  Qcow2Volume *volume = (Qcow2Volume *) cut->volume;
  const Qcow2Cut *self = (Qcow2Cut *) cut;

  return !self->changed
         || (repair (volume, error)
             && delete_snapshot (volume, self->native_name, error));
}

void
qcow2_free_cut (SnapCut *cut)
{
  g_free (((Qcow2Cut *) cut)->native_name);
  g_free (cut);
}

/* ---- recovery and deletion ---- */

/* The words of a record: image, native name, key; freed by the caller. */
static char **
parse_record (const char *record, GError **error)
{
  g_auto (GStrv) words = snap_record_parse (record, 3, error);
  g_autofree char *name = NULL;
  g_autofree char *set_id = NULL;

  if (words == NULL)
    return NULL;
  if (qcow2_name_parse (words[1], &name, &set_id))
    return g_steal_pointer (&words);
  snap_error_set (error, SNAP_ERROR_CORRUPT,
                  "journal: %s is no snapshot of ours", words[1]);
  return NULL;
}

gboolean
qcow2_recover (const char *record, SnapRecover action, GError **error)
{
  SnapOpenOptions options = { .mode = SNAP_OPEN_MANAGE };
  g_auto (GStrv) words = parse_record (record, error);
  SnapVolume *volume;
  gboolean ok;

  if (words == NULL)
    return FALSE;
  if (action == SNAP_RECOVER_COMMIT)
    return TRUE;
  if (!g_str_equal (words[2], NO_SECRET))
    options.secret_file = words[2];
  /* An image that is not there may come back with its file system. */
  volume = snap_driver_qcow2.open (words[0], NULL, &options, error);
  if (volume == NULL)
    return FALSE;
  ok = repair ((Qcow2Volume *) volume, error)
       && delete_snapshot ((Qcow2Volume *) volume, words[1], error);
  volume->driver->close (volume);
  return ok;
}

gboolean
qcow2_remove (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  Qcow2Volume *self = (Qcow2Volume *) volume;
  g_autoptr (GPtrArray) snapshots = NULL;
  g_autoptr (GError) reason = NULL;

  if (!point->ours)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s@%s: not made by nbdsnap, so not deleted",
                           volume->location, point->name);
  if (!check_writable (self, error) || !check_key (self, error))
    return FALSE;
  if (qcow2_point_find (self, point, &snapshots, &reason) != NULL
      && delete_snapshot (self, point->handle, &reason))
    return TRUE;
  /* Gone, or given up half-way, perhaps by a qemu-img before this one. */
  if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_BUSY))
    repair (self, NULL);
  g_propagate_error (error, g_steal_pointer (&reason));
  return FALSE;
}
