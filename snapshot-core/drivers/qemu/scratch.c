/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A scratch file never has a name for long: we open it, take the name away,
 * and hand it to QEMU.  So nothing is left when QEMU is killed, and QEMU needs
 * no right to the directory.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "qmp/json.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/fd.h"

/* Where the disk's own place is none: a device, or a disk on a network. */
#define FALLBACK_DIRECTORY "/var/tmp"

/* A snapshot that breaks when its scratch is full gets this much to begin
   with: a part of the disk, at least so many bytes. */
#define PART_OF_DISK 20
#define LEAST_ROOM (64 * 1024 * 1024)

/* For the image's own tables. */
#define TABLES_ROOM (4 * 1024 * 1024)

#define FORMAT_MS 60000
#define LOOK_MS 5

char *
qemu_scratch_directory (const QemuVolume *volume, const QmpDisk *disk)
{
  if (volume->scratch_dir != NULL)
    return g_strdup (volume->scratch_dir);
  if (g_str_equal (disk->protocol, "file")
      && g_path_is_absolute (disk->filename))
    return g_path_get_dirname (disk->filename);
  return g_strdup (FALLBACK_DIRECTORY);
}

/* A backup job stops the guest when there is no room for what it overwrites. */
static guint64
room_needed (const QemuVolume *volume, const QmpDisk *disk,
             QemuMechanism mechanism)
{
  guint64 all = disk->size + TABLES_ROOM;

  if (mechanism == QEMU_FLEECE && !volume->force)
    return all;
  return MIN (MAX (disk->size / PART_OF_DISK, LEAST_ROOM), all);
}

gboolean
qemu_scratch_check (const QemuVolume *volume, const QmpDisk *disk,
                    QemuMechanism mechanism, GError **error)
{
  g_autofree char *directory = qemu_scratch_directory (volume, disk);
  guint64 needed = room_needed (volume, disk, mechanism);
  struct statvfs fs;
  guint64 room;

  if (statvfs (directory, &fs) < 0)
    return snap_error_set_errno (error, errno, "%s", directory);
  room = fs.f_bavail * (guint64) fs.f_frsize;
  return room >= needed
         || snap_error_set (error, SNAP_ERROR_NO_SPACE,
                            "%s: a snapshot of %s needs %" G_GUINT64_FORMAT
                            " bytes of scratch here, and there are "
                            "%" G_GUINT64_FORMAT,
                            directory, volume->parent.location, needed, room);
}

/* -1 on error. */
static int
open_unnamed (const char *directory, GError **error)
{
  g_autofree char *path = NULL;
  int fd = open (directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    path = g_build_filename (directory, ".nbdsnap-scratch-XXXXXX", NULL);
    fd = g_mkstemp_full (path, O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
      g_unlink (path);
  }
  if (fd < 0)
    snap_error_set_errno (error, errno, "%s: scratch file", directory);
  return fd;
}

/* Nothing of it is of use after a crash, so QEMU need not flush it: not when
   it stops the guest, nor whenever the guest flushes its disk. */
static JsonObject *
add_no_flush (JsonObject *node)
{
  JsonObject *cache = json_object_new ();

  json_object_set_boolean_member (cache, "no-flush", TRUE);
  json_object_set_object_member (node, "cache", cache);
  return node;
}

/* The file node, opened through a set of descriptors that goes with it. */
static gboolean
add_file (QemuSession *session, const char *node, int fd, GError **error)
{
  g_autoptr (JsonNode) answer = NULL;
  g_autofree char *filename = NULL;
  JsonObject *forget;
  gboolean added;
  gint64 id;

  if (!qemu_do_with_fd (session, "add-fd", NULL, fd, &answer, error))
    return FALSE;
  id = JSON_NODE_HOLDS_OBJECT (answer)
           ? qmp_json_size (json_node_get_object (answer), "fdset-id", -1)
           : -1;
  if (id < 0)
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s: add-fd: no id",
                           session->name);
  filename = g_strdup_printf ("/dev/fdset/%" G_GINT64_FORMAT, id);
  added =
      qemu_do (session, "blockdev-add",
               add_no_flush (qemu_object ("driver", "file", "node-name", node,
                                          "filename", filename, NULL)),
               error);
  forget = json_object_new ();
  json_object_set_int_member (forget, "fdset-id", id);
  return qemu_do (session, "remove-fd", forget, added ? error : NULL) && added;
}

/* The state of a job, or NULL; *failure, if it has one; the caller frees. */
static char *
get_job (QemuSession *session, const char *id, char **failure, GError **error)
{
  g_autoptr (JsonNode) answer = qemu_ask (session, "query-jobs", NULL, error);
  JsonArray *list = answer != NULL && JSON_NODE_HOLDS_ARRAY (answer)
                        ? json_node_get_array (answer)
                        : NULL;
  guint n = list != NULL ? json_array_get_length (list) : 0;

  for (guint i = 0; i < n; i++) {
    JsonObject *job = qmp_json_as_object (json_array_get_element (list, i));

    if (job == NULL || g_strcmp0 (qmp_json_string (job, "id"), id) != 0)
      continue;
    *failure = g_strdup (qmp_json_string (job, "error"));
    return g_strdup (qmp_json_string (job, "status"));
  }
  if (answer != NULL)
    snap_error_set (error, SNAP_ERROR_IO, "%s: job %s is gone", session->name,
                    id);
  return NULL;
}

static gboolean
await_job (QemuSession *session, const char *id, GError **error)
{
  SnapDeadline deadline = snap_deadline_in (FORMAT_MS);

  for (;;) {
    g_autofree char *failure = NULL;
    g_autofree char *status = get_job (session, id, &failure, error);

    if (status == NULL)
      return FALSE;
    if (g_str_equal (status, "concluded"))
      return (failure == NULL
              || snap_error_set (error, SNAP_ERROR_IO, "%s: scratch file: %s",
                                 session->name, failure))
             && qemu_do (session, "job-dismiss", qemu_object ("id", id, NULL),
                         error);
    if (snap_deadline_left_ms (deadline) == 0)
      return snap_error_set (error, SNAP_ERROR_IO, "%s: job %s takes too long",
                             session->name, id);
    g_usleep (LOOK_MS * 1000);
  }
}

static gboolean
format (QemuSession *session, const char *file, const char *job, guint64 size,
        GError **error)
{
  JsonObject *options = qemu_object ("driver", "qcow2", "file", file, NULL);
  JsonObject *arguments = qemu_object ("job-id", job, NULL);

  json_object_set_int_member (options, "size", (gint64) size);
  json_object_set_object_member (arguments, "options", options);
  return qemu_do (session, "blockdev-create", arguments, error)
         && await_job (session, job, error);
}

gboolean
qemu_scratch_make (QemuSession *session, const QemuVolume *volume,
                   const QmpDisk *disk, const char *set_id, const char *backing,
                   GError **error)
{
  g_autofree char *file = qemu_part_name (set_id, volume->tag, QEMU_FILE);
  g_autofree char *job = qemu_part_name (set_id, volume->tag, QEMU_FORMAT);
  g_autofree char *node = qemu_part_name (set_id, volume->tag, QEMU_SCRATCH);
  g_autofree char *directory = qemu_scratch_directory (volume, disk);
  snap_autofd int fd = open_unnamed (directory, error);

  return fd >= 0 && add_file (session, file, fd, error)
         && format (session, file, job, disk->size, error)
         && qemu_do (session, "blockdev-add",
                     add_no_flush (qemu_object (
                         "driver", "qcow2", "node-name", node, "file", file,
                         backing != NULL ? "backing" : NULL, backing, NULL)),
                     error);
}
