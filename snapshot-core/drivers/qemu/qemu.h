/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the qemu driver: disks of a running guest, reached through the
 * monitor of its QEMU.
 *
 *   driver.c    the ops: open, list
 *   session.c   one conversation with the monitor, and what it says of QEMU
 *   name.c      how our bitmaps, nodes, jobs and exports are called
 *   choice.c    which mechanism a disk is cut by, and whether it can be
 *   scratch.c   files for old bytes
 *   server.c    QEMU's own NBD server, through which we read
 *   marks.c     the bitmaps of a cut: frozen copies, and what tells a resize
 *   create.c    creation
 *   teardown.c  abort, recovery, deletion, acknowledgement
 *   image.c     reads
 *   compare.c   diffs
 *
 * A cut leaves on the disk's format node a bitmap that records all writes from
 * then on, until the point is deleted: a base for later ones.  In the moment of
 * the cut the older bitmaps are copied to a node of the new point, where they
 * stand still: the copy of bitmap I at point K is what changed from I to K.
 */
#ifndef SNAP_DRIVERS_QEMU_QEMU_H
#define SNAP_DRIVERS_QEMU_QEMU_H

#include "qmp/disks.h"
#include "qmp/monitor.h"
#include "snapshot-core/drivers/driver.h"
#include "snapshot-core/os/nbd-source.h"

typedef struct {
  SnapVolume parent;
  char *socket; /* absolute */
  char *device; /* as QEMU calls it */
  char *tag;    /* of the device, in the names of our nodes */
  char *mechanism;
  char *scratch_dir;
  char *consumer;
  SnapQuiesce quiesce;
  gboolean force;
} QemuVolume;

/* ---- session.c ---- */

typedef struct {
  QmpMonitor *monitor;
  QmpClient *client; /* borrowed from it; ours alone while the session lasts */
  const char *name;  /* of the socket, borrowed, for messages */
} QemuSession;

/* Errors: NOT_FOUND (nobody listens there), BUSY (somebody else has the
   monitor), CORRUPT, IO. */
QemuSession *qemu_session_open (const char *socket, GError **error);
void qemu_session_close (QemuSession *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QemuSession, qemu_session_close)

/* Execute a command; takes @arguments, which may be NULL.  The caller frees
   with json_node_unref(). */
JsonNode *qemu_ask (QemuSession *self, const char *command,
                    JsonObject *arguments, GError **error);

/* The same, where the answer says nothing. */
gboolean qemu_do (QemuSession *self, const char *command, JsonObject *arguments,
                  GError **error);
gboolean qemu_do_with_fd (QemuSession *self, const char *command,
                          JsonObject *arguments, int fd, JsonNode **answer,
                          GError **error);

/* Make *error one of SNAP_ERROR; returns FALSE. */
gboolean qemu_set_error (GError **error, GError *reason, const char *name);

/* An object of strings: member, value, …, NULL.  Members without a value (NULL)
   are left out. */
JsonObject *qemu_object (const char *member, ...) G_GNUC_NULL_TERMINATED;

/* What QEMU consists of just now, as far as we have to do with it. */
typedef struct {
  GPtrArray *disks;    /* QmpDisk */
  JsonNode *named;     /* query-named-block-nodes: owns what nodes points to */
  GHashTable *nodes;   /* node name → JsonObject */
  GHashTable *below;   /* node name → name of the node with its data; owned */
  GHashTable *jobs;    /* id → status; owned */
  GHashTable *exports; /* set of ids; owned */
} QemuView;

QemuView *qemu_view_new (QemuSession *session, GError **error);
void qemu_view_free (QemuView *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QemuView, qemu_view_free)

gboolean qemu_view_has_node (const QemuView *self, const char *name);

/* How many bytes a bitmap has marked, and whether it is there at all. */
gboolean qemu_view_count (const QemuView *self, const char *node,
                          const char *bitmap, guint64 *n_bytes);

/* The disk of a volume, borrowed; NOT_FOUND if the guest has it no more. */
QmpDisk *qemu_view_disk (const QemuView *self, const QemuVolume *volume,
                         GError **error);

/* ---- name.c ---- */

/* What the name of a bitmap of ours says. */
typedef struct {
  char *name; /* of the point */
  char *set_id;
  gint64 time_us; /* of the cut */
  guint64 size;   /* of the disk then, bytes */
  char *consumer; /* or NULL */
} QemuBitmapName;

char *qemu_bitmap_name_format (const QemuBitmapName *self);
QemuBitmapName *qemu_bitmap_name_parse (const char *native); /* or NULL */
void qemu_bitmap_name_free (QemuBitmapName *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QemuBitmapName, qemu_bitmap_name_free)

/* The bitmap that tells whether the disk was made smaller since; the caller
   frees. */
char *qemu_end_mark_name (const char *set_id);

/* Whether a bitmap is one of a set, of either kind. */
gboolean qemu_bitmap_is_of (const char *native, const char *set_id);

gboolean qemu_is_set_id (const char *text);

/* Six digits for a device: names of nodes are short. */
char *qemu_device_tag (const char *device);

/* What one cut consists of in QEMU, each with a letter. */
typedef enum {
  QEMU_FILE = 'x',    /* node: the scratch file */
  QEMU_SCRATCH = 's', /* node: old bytes, and with fleecing the rest below */
  QEMU_COPIER = 'w',  /* node: the filter that copies before it writes */
  QEMU_FLEECER = 'f', /* node: the same, of a backup job */
  QEMU_ACCESS = 'a',  /* node: the disk as it was, through QEMU_COPIER */
  QEMU_MARKS = 'm',   /* node: no data, but the frozen copies of bitmaps */
  QEMU_JOB = 'j',     /* job: the backup job */
  QEMU_FORMAT = 'c',  /* job: that makes the scratch file a qcow2 image */
  QEMU_DATA = 'd',    /* export: QEMU_ACCESS, or QEMU_SCRATCH */
  QEMU_TAKEN = 't',   /* export: QEMU_SCRATCH, for what is in it */
  QEMU_DIRTY = 'b',   /* export: QEMU_MARKS */
} QemuPart;

/* "ns-SET_ID-TAG" and the letter; the caller frees. */
char *qemu_part_name (const char *set_id, const char *tag, QemuPart part);

/* Whether a node is that part of some cut; *set_id and *tag, which the caller
   frees, may be NULL. */
gboolean qemu_part_parse (const char *node, QemuPart part, char **set_id,
                          char **tag);

/* ---- choice.c ---- */

typedef enum {
  QEMU_COPY_BEFORE_WRITE, /* a filter under the device */
  QEMU_FLEECE,            /* a backup job that copies nothing by itself */
} QemuMechanism;

/* Errors: USAGE (no such mechanism), UNSUPPORTED, BUSY. */
gboolean qemu_choose (QemuSession *session, const QemuView *view,
                      const QemuVolume *volume, const QmpDisk *disk,
                      QemuMechanism *mechanism, GError **error);

/* The QOM path of the device that the disk is in; the caller frees. */
char *qemu_device_path (const QmpDisk *disk);

/* ---- scratch.c ---- */

/* Where the scratch file of a disk goes; the caller frees. */
char *qemu_scratch_directory (const QemuVolume *volume, const QmpDisk *disk);

/* Whether there is room for what the mechanism may need.  NO_SPACE. */
gboolean qemu_scratch_check (const QemuVolume *volume, const QmpDisk *disk,
                             QemuMechanism mechanism, GError **error);

/* Make the nodes QEMU_FILE and QEMU_SCRATCH.  The file has no name: it is gone
   with QEMU, whatever happens.  @backing is a node or NULL. */
gboolean qemu_scratch_make (QemuSession *session, const QemuVolume *volume,
                            const QmpDisk *disk, const char *set_id,
                            const char *backing, GError **error);

/* ---- server.c ---- */

/* The path of the NBD socket that belongs to a monitor; the caller frees. */
char *qemu_server_path (const char *socket);

/* Have QEMU's NBD server listen there, with a name for us alone.  BUSY if it
   serves somebody else elsewhere. */
gboolean qemu_server_start (QemuSession *session, const char *socket,
                            GError **error);

/* Stop it if it is ours and exports nothing. */
gboolean qemu_server_stop_idle (QemuSession *session, const char *socket,
                                GError **error);

/* Export a node under the name of its id.  @options, which is taken, holds
   further arguments; "writable" must be among them. */
gboolean qemu_export_add (QemuSession *session, const char *id,
                          const char *node, JsonObject *options,
                          GError **error);

/* Remove an export, its clients with it, and wait until it is gone; nothing if
   it is not there. */
gboolean qemu_export_remove (QemuSession *session, const char *id,
                             GError **error);

/* ---- marks.c ---- */

/* What a bitmap of ours counts, bytes. */
#define QEMU_GRANULARITY 65536

/*
 * Make the node QEMU_MARKS with an empty frozen copy for each base that is
 * sound, and on the disk the bitmap that tells whether it was made smaller.
 * *persistent: whether the disk can store bitmaps.
 */
gboolean qemu_marks_make (QemuSession *session, const QemuView *view,
                          const QemuVolume *volume, const QmpDisk *disk,
                          const char *set_id, gboolean *persistent,
                          GError **error);

/* Append the actions of a transaction that fill the frozen copies.  BUSY if a
   base was removed since they were made. */
gboolean qemu_marks_add_merges (const QemuView *view, const QemuVolume *volume,
                                const QmpDisk *disk, const char *set_id,
                                JsonArray *actions, GError **error);

/* Whether a bitmap holds all that was written since its point; if not, why,
   in *fault. */
gboolean qemu_base_is_sound (const QemuView *view, const QmpDisk *disk,
                             const QmpBitmap *bitmap, const char **fault);

/* The bitmap of a set's point, borrowed, or NULL. */
QmpBitmap *qemu_base_find (const QmpDisk *disk, const char *set_id);

/* The names of the frozen copies on a node QEMU_MARKS; strings freed by the
   array. */
GPtrArray *qemu_marks_list (const QemuView *view, const char *node);

/* ---- create.c ---- */

SnapCut *qemu_plan (SnapVolume *volume, const char *name, const char *set_id,
                    char **record, GError **error);
gboolean qemu_prepare (SnapCut *cut, GError **error);
gboolean qemu_window (SnapCut **cuts, gsize n_cuts, SnapWindow *window,
                      GError **error);
gboolean qemu_cut (SnapCut **cuts, gsize n_cuts, GError **error);
gboolean qemu_commit (SnapCut *cut, GError **error);
gboolean qemu_abort (SnapCut *cut, GError **error);
void qemu_free_cut (SnapCut *cut);
gboolean qemu_cuts_at_once (SnapCut **cuts, gsize n_cuts);
gboolean qemu_recover (const char *record, SnapRecover action, GError **error);

/* Make the data of a cut readable. */
gboolean qemu_publish (QemuSession *session, const QemuVolume *volume,
                       const char *set_id, GError **error);

/* ---- teardown.c ---- */

/* End the data of a cut: exports, job, nodes, scratch file.  What is not there
   is no error. */
gboolean qemu_end_data (QemuSession *session, const QemuVolume *volume,
                        const char *set_id, GError **error);

/* Remove the bitmaps of a set from the disk. */
gboolean qemu_remove_bitmaps (QemuSession *session, const QemuVolume *volume,
                              const char *set_id, GError **error);

gboolean qemu_remove (SnapVolume *volume, const SnapPoint *point,
                      GError **error);
gboolean qemu_acknowledge (SnapVolume *volume, const SnapPoint *point,
                           gboolean failed, GError **error);

/* ---- driver.c ---- */

/* A volume without options, for recovery. */
QemuVolume *qemu_volume_new (const char *socket, const char *device);
void qemu_volume_free (QemuVolume *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QemuVolume, qemu_volume_free)

/* Every point of the disk, as QEMU is now. */
GPtrArray *qemu_points (const QemuView *view, const QemuVolume *volume);

/* ---- image.c ---- */

/* Connect to an export of a point, for one context or for reads (NULL). */
SnapNbdSource *qemu_connect (const QemuVolume *volume, const SnapPoint *point,
                             QemuPart part, const char *context,
                             guint n_connections, GError **error);

/* The data of a point.  Threads: any. */
typedef struct _QemuContent QemuContent;

QemuContent *qemu_content_open (const QemuVolume *volume,
                                const SnapPoint *point, GError **error);
void qemu_content_close (QemuContent *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QemuContent, qemu_content_close)

/* As the op of an image: zeroes that were there at the cut, and data. */
gboolean qemu_content_extents (QemuContent *self, guint64 offset,
                               guint64 length, SnapExtentFunc emit,
                               gpointer user_data, GError **error);

SnapImage *qemu_image_open (SnapVolume *volume, const SnapPoint *point,
                            GError **error);

/* ---- compare.c ---- */

gboolean qemu_comparable (const SnapDiffRequest *request, GError **error);
gboolean qemu_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
                    SnapExtentFunc emit, gpointer user_data, GError **error);

#endif
