/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the LVM driver: logical volumes, with thin snapshots where they
 * lie on a thin pool and classic ones (dm-snapshot) elsewhere.
 *
 *   driver.c    the ops: open, list, the live point
 *   tool.c      running lvm and reading its report
 *   native.c    how our snapshots are named and tagged
 *   create.c    creation and deletion: what both kinds share
 *   recover.c   undoing a creation, also after a kill
 *   thin.c      thin snapshots: placeholders, and their cut in the window
 *   classic.c   classic snapshots: room, creation, watermarks
 *   classic-diff.c  their diffs
 *   metadata.c  a pool's metadata while a metadata snapshot is held
 *   thin-diff.c diffs and maps of thin volumes
 *   compare.c   finding the two sides of a diff
 *   activation.c  a snapshot's device for as long as somebody reads it
 *   runtime.c   what running processes tell each other, and leave
 *   image.c     reading
 *
 * LVM is asked anew by every operation, since volumes change behind our back,
 * but for those that look once together.
 */
#ifndef SNAP_DRIVERS_LVM_LVM_H
#define SNAP_DRIVERS_LVM_LVM_H

#include "snapshot-core/base/window.h"
#include "snapshot-core/drivers/driver.h"
#include "snapshot-core/format/lvm-report.h"

typedef enum {
  LVM_THIN,    /* on a thin pool */
  LVM_CLASSIC, /* anything else that dm-snapshot can copy */
} LvmKind;

typedef struct {
  SnapVolume parent; /* its id is the UUID */
  char *vg;
  char *name;
  LvmKind kind;
  char *dm_path;   /* of its device, which is there while it is active */
  gboolean force;  /* go on in a pool that is nearly full */
  GPtrArray *seen; /* the report of its group, between look and look_away */
} LvmVolume;

/* ---- tool.c ---- */

/*
 * Run `lvm COMMAND ARGUMENTS…` (NULL-terminated), waiting some seconds for
 * others' locks.  @output may be NULL.
 *
 * Errors: BUSY (another lvm has the lock, or the volume is in use), NOT_FOUND,
 * UNSUPPORTED (lvm is not installed), FAILED, IO.
 */
gboolean lvm_run (const char *const *arguments, char **output, GError **error);

/* The same for a command that changes something: it keeps the lock on
   @lock_fd until it ends, even if we are killed, so that whoever undoes what
   we have left waits for it. */
gboolean lvm_run_locked (const char *const *arguments, int lock_fd,
                         GError **error);

/* The report of all volumes of @vg, or of one volume or device path. */
GPtrArray *lvm_report (const char *what, GError **error);

/* The report of the group of @volume: what was seen while somebody looks,
   else what is true now. */
GPtrArray *lvm_report_seen (const LvmVolume *volume, GError **error);

/* What a report says of @volume, by UUID; NOT_FOUND if it is gone. */
const SnapLvmVolume *lvm_report_volume (GPtrArray *report,
                                        const LvmVolume *volume,
                                        GError **error);

/* The device-mapper name of a volume; borrowed from it. */
const char *lvm_dm_name (const SnapLvmVolume *volume);

/* The thin pool of a volume; NOT_FOUND if there is none. */
const SnapLvmVolume *lvm_pool_of (GPtrArray *report,
                                  const SnapLvmVolume *volume, GError **error);

/* The device-mapper name of a pool's own device, to which messages go; the
   caller frees. */
char *lvm_pool_dm_name (const SnapLvmVolume *pool);

/* Whether a volume has its device now.  Of a pool that is its own, for LVM
   calls a pool active only if it was activated by itself. */
gboolean lvm_is_active (const SnapLvmVolume *volume, gboolean *active,
                        GError **error);

/* ---- native.c ---- */

/* What a snapshot of ours is called: "NAME.nbdsnap-SET_ID-XXXXXX", where the
   end is from the UUID of its origin.  The caller frees. */
char *lvm_native_name (const char *name, const char *set_id,
                       const char *origin_uuid);

/* The tags it carries, as arguments of lvcreate are added to @arguments;
   strings go to @owned. */
void lvm_native_tags (GPtrArray *arguments, GPtrArray *owned, const char *name,
                      const char *set_id, const char *origin_uuid);

/* Whether a volume is a snapshot that we made in this set. */
gboolean lvm_is_of_set (const SnapLvmVolume *volume, const char *set_id);

/* Whether @candidate is a snapshot, ours or somebody's, of the volume with
   this UUID. */
gboolean lvm_is_snapshot_of (const SnapLvmVolume *candidate, const char *uuid);

/* The point that a snapshot is. */
SnapPoint *lvm_point_new (const SnapLvmVolume *snapshot);

/* "UUID", for a thin volume "UUID+THIN_ID": what it is and stays. */
char *lvm_identity (const SnapLvmVolume *volume);

/* What a report says of a point of @volume, by identity; NOT_FOUND if it is
   there no more. */
const SnapLvmVolume *lvm_report_point (GPtrArray *report,
                                       const LvmVolume *volume,
                                       const SnapPoint *point, GError **error);

/* ---- create.c ---- */

SnapCut *lvm_plan (SnapVolume *volume, const char *name, const char *set_id,
                   char **record, GError **error);
gboolean lvm_prepare (SnapCut *cut, GError **error);
gboolean lvm_cut (SnapCut **cuts, gsize n_cuts, GError **error);
gboolean lvm_window (SnapCut **cuts, gsize n_cuts, SnapWindow *window,
                     GError **error);
gboolean lvm_cuts_at_once (SnapCut **cuts, gsize n_cuts);
gboolean lvm_commit (SnapCut *cut, GError **error);
void lvm_free_cut (SnapCut *cut);
gboolean lvm_remove (SnapVolume *volume, const SnapPoint *point,
                     GError **error);

/* One snapshot that is being made. */
typedef struct {
  SnapCut parent;
  char *name;
  char *set_id;
  char *native;       /* the name of the snapshot's volume */
  char *dm_name;      /* of the origin */
  gboolean half_made; /* by an lvm that was killed */
} LvmCut;

/* ---- recover.c ---- */

/*
 * The lock of whoever makes or undoes a snapshot of a set, at @path, which the
 * caller unlinks and frees.  A tool that outlives us keeps it; the next one
 * waits.  -1 on error.
 */
int lvm_set_lock (const char *set_id, char **path, GError **error);

/* @lock_fd may be -1. */
gboolean lvm_remove_volume (const char *vg, const char *name, int lock_fd,
                            GError **error);

gboolean lvm_abort (SnapCut *cut, GError **error);
gboolean lvm_recover (const char *record, SnapRecover action, GError **error);
gboolean lvm_sweep (SnapVolume *volume, GError **error);

/* ---- thin.c ---- */

/* Refuse where the pool has no room for what follows a snapshot. */
gboolean lvm_thin_check (const LvmVolume *volume, GPtrArray *report,
                         GError **error);

/* Make the placeholder: a snapshot of now, whose device id is cut again in
   the window. */
gboolean lvm_thin_prepare (const LvmCut *cut, int lock_fd, GError **error);

/* Add what cuts @cut again; nothing where the pool is inactive, for then
   nobody can have written since. */
gboolean lvm_thin_window (const LvmCut *cut, GPtrArray *report,
                          SnapWindow *window, GError **error);

/* Have the pool of @volume told what an lvm that was killed had written down
   for it, and nobody has told it since. */
gboolean lvm_thin_settle (GPtrArray *report, const SnapLvmVolume *volume,
                          GError **error);

/* ---- classic.c ---- */

/* Refuse where dm-snapshot cannot copy the volume, or the group has no room
   for what it would save. */
gboolean lvm_classic_check (const LvmVolume *volume, GPtrArray *report,
                            GError **error);

gboolean lvm_classic_cut (const LvmCut *cut, int lock_fd, GError **error);

/* Note in every older snapshot how much it had saved by then. */
gboolean lvm_classic_commit (const LvmCut *cut, GError **error);

/* How many chunks a classic snapshot has saved so far.  NOT_COMPARABLE if it
   has overflowed or is being merged. */
gboolean lvm_classic_count (const SnapLvmVolume *snapshot, guint64 *count,
                            GError **error);

/* The tag of a snapshot that tells how many it had saved when the set was
   cut; the caller frees. */
char *lvm_classic_mark_tag (const char *set_id);

/* ---- metadata.c ---- */

typedef struct _LvmMetadata LvmMetadata;

/*
 * Reserve the metadata snapshot of @pool, a thin pool that is active.
 *
 * There is one per pool, shared by every tool of the host: another nbdsnap's
 * is waited for, anybody else's is refused and never touched.  It is released
 * by lvm_metadata_free().
 *
 * Errors: BUSY (held by somebody else), IO.
 */
LvmMetadata *lvm_metadata_take (GPtrArray *report, const SnapLvmVolume *pool,
                                GError **error);
void lvm_metadata_free (LvmMetadata *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LvmMetadata, lvm_metadata_free)

/* Where its superblock lies, in metadata blocks, and on which device, which
   is to be read with O_DIRECT. */
guint64 lvm_metadata_root (const LvmMetadata *self);
const char *lvm_metadata_device (const LvmMetadata *self);

/* Of a pool whose lock is held by the caller alone: release what the note
   says is ours.  BUSY if it cannot be told whose it is. */
gboolean lvm_metadata_undo (const char *lock_path, int lock_fd, guint *n_undone,
                            GError **error);

/* ---- runtime.c ---- */

#define LVM_RUNTIME_DIR "/run/nbdsnap"

/* What the files there are called, before a UUID. */
#define LVM_ACTIVE "active-"
#define LVM_RESERVED "metadata-"
/* … and before the id of a set */
#define LVM_SET "set-"

char *lvm_runtime_path (const char *kind, const char *id);

/* Lock a file there, making it; -1 on error.  The first waits until it has
   the lock alone or, if @shared, at all; the second does not wait: BUSY. */
int lvm_runtime_lock (const char *path, gboolean shared, gboolean *alone,
                      GError **error);
int lvm_runtime_try_lock (const char *path, GError **error);

/* The note in a locked file; the caller frees.  "" if there is none. */
char *lvm_runtime_note (int fd);
gboolean lvm_runtime_set_note (int fd, const char *path, const char *note,
                               GError **error);

/* Undo what processes that are gone have left. */
gboolean lvm_tidy (guint *n_undone, GError **error);

/* ---- activation.c ---- */

typedef struct _LvmActivation LvmActivation;

/* Have the device of @volume there until lvm_activation_free(), which
   deactivates it if we activated it and nobody else of us needs it. */
LvmActivation *lvm_activate (const SnapLvmVolume *volume, GError **error);
void lvm_activation_free (LvmActivation *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LvmActivation, lvm_activation_free)

/* Of a volume whose lock is held by the caller alone: deactivate it if that
   is left to do. */
gboolean lvm_activation_undo (const char *lock_path, int lock_fd,
                              guint *n_undone, GError **error);

char *lvm_plain_path (SnapVolume *volume, const SnapPoint *point);
char *lvm_activate_point (SnapVolume *volume, const SnapPoint *point,
                          GError **error);
gboolean lvm_deactivate_point (SnapVolume *volume, const SnapPoint *point,
                               GError **error);

/* ---- classic-diff.c ---- */

/* @from and @to are what a report says of the request's points. */
gboolean lvm_classic_comparable (const SnapDiffRequest *request,
                                 const SnapLvmVolume *from,
                                 const SnapLvmVolume *to, GError **error);
gboolean lvm_classic_diff (const SnapDiffRequest *request,
                           const SnapLvmVolume *from, const SnapLvmVolume *to,
                           SnapDiffInfo *info, SnapExtentFunc emit,
                           gpointer user_data, GError **error);

/* ---- thin-diff.c ---- */

/* @from and @to are what @report says of the request's points. */
gboolean lvm_thin_comparable (const SnapDiffRequest *request, GPtrArray *report,
                              const SnapLvmVolume *from,
                              const SnapLvmVolume *to, GError **error);
gboolean lvm_thin_diff (const SnapDiffRequest *request, GPtrArray *report,
                        const SnapLvmVolume *from, const SnapLvmVolume *to,
                        SnapDiffInfo *info, SnapExtentFunc emit,
                        gpointer user_data, GError **error);

/* What of a thin snapshot is allocated, without gaps; the caller unrefs. */
SnapExtents *lvm_thin_map (const LvmVolume *volume, const SnapPoint *point,
                           guint64 offset, guint64 length, GError **error);

/* ---- compare.c ---- */

gboolean lvm_comparable (const SnapDiffRequest *request, GError **error);
gboolean lvm_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
                   SnapExtentFunc emit, gpointer user_data, GError **error);

/* ---- image.c ---- */

SnapImage *lvm_open_image (SnapVolume *volume, const SnapPoint *point,
                           GError **error);

#endif
