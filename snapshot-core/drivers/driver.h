/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver ABI: what one kind of storage offers to the services.
 *
 * A driver is one const SnapDriver.  It knows its storage and nothing else:
 * not sets, not journals, not front ends, not another driver.  An op that is
 * NULL is a thing the storage cannot do; capabilities are derived from the
 * ops, never declared.  The struct is append-only; SNAP_DRIVER_INIT stamps it
 * with the ABI number and its size, so that a module built against an older
 * header keeps working.
 *
 * Threads: control ops of one volume are called by one thread at a time,
 * except comparable, diff and open_image, which may run together on one
 * volume.  Image ops may be called from many threads at once.
 *
 * Errors: SNAP_ERROR codes; a message names the object and the fact.
 */
#ifndef SNAP_DRIVERS_DRIVER_H
#define SNAP_DRIVERS_DRIVER_H

#include <gio/gio.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/base/extents.h"
#include "snapshot-core/base/window.h"

#define SNAP_DRIVER_ABI 1

typedef struct _SnapDriver SnapDriver;

/* ---- points ---- */

typedef enum {
  SNAP_POINT_SNAPSHOT,   /* an immutable point in time */
  SNAP_POINT_LIVE,       /* the volume as it is now */
  SNAP_POINT_BACKING,    /* the backing file below the volume */
  SNAP_POINT_EMPTY,      /* nothing at all: size 0 */
  SNAP_POINT_CHECKPOINT, /* a time whose data is gone, its tracking is not */
} SnapPointKind;

typedef struct {
  SnapPointKind kind;
  char *name;   /* what a user calls it; any bytes but NUL, UTF-8 not assured */
  char *id;     /* identity: what the storage calls it; never reused */
  char *handle; /* the driver's own address of it, or NULL */
  char *set_id; /* the set it was cut in, or NULL */
  gboolean ours;     /* made by nbdsnap: may be deleted */
  guint64 size;      /* bytes */
  gint64 time_us;    /* microseconds since the epoch, UTC; 0 if unknown */
  gboolean no_image; /* it can be compared, but its data does not stand still
                        and is not opened */
} SnapPoint;

SnapPoint *snap_point_new (SnapPointKind kind, const char *name);
SnapPoint *snap_point_dup (const SnapPoint *self);
void snap_point_free (SnapPoint *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapPoint, snap_point_free)

/* ---- images: data, many threads ---- */

typedef struct _SnapImage SnapImage;

typedef struct {
  int fd; /* borrowed from the image, valid until it is closed */
  guint64 fd_offset;
  guint64 length;
} SnapFileRange;

typedef struct {
  guint32 struct_size;

  /* Read exactly [offset, offset + length), which lies inside the size. */
  gboolean (*read_at) (SnapImage *self, guint64 offset, void *buffer,
                       gsize length, GError **error);

  /*
   * Report allocation of [offset, offset + length): flags 0 for data, HOLE
   * and ZERO as known.  Gapless from @offset, up to the end of the range
   * unless @emit has had enough.
   */
  gboolean (*extents) (SnapImage *self, guint64 offset, guint64 length,
                       SnapExtentFunc emit, gpointer user_data, GError **error);

  /*
   * Optional.  Where the bytes from @offset on lie plainly in a file: TRUE
   * with *range, 0 < range->length <= @length; FALSE if they do not.  Whoever
   * holds the image open is promised that nobody rewrites those bytes.
   */
  gboolean (*file_range) (SnapImage *self, guint64 offset, guint64 length,
                          SnapFileRange *range);

  void (*close) (SnapImage *self);
} SnapImageOps;

/* Embedded first in a driver's own struct. */
struct _SnapImage {
  const SnapImageOps *ops;
  guint64 size; /* bytes; never changes */
};

/* ---- volumes ---- */

typedef enum {
  SNAP_OPEN_READ,   /* list, diff, serve: keep writers out while open */
  SNAP_OPEN_MANAGE, /* create, delete: the driver may write to the storage */
} SnapOpenMode;

/* Told what a user should know before something is done: "OBJECT: FACT". */
typedef void (*SnapWarnFunc) (const char *message, gpointer user_data);

/* What a user may add to an open.  Zero-filled means none of it.  Strings are
   the caller's, and may go when the volume is open. */
typedef struct {
  SnapOpenMode mode;
  const char *secret_file; /* a file with the key of an encrypted image */
  gboolean force; /* go on where a driver finds that it would take long */
  const char *snapshot_dir; /* name of the directory for snapshots beside the
                               data; NULL: ".nbdsnap" */
  SnapWarnFunc warn;        /* for as long as the volume is open; or NULL */
  gpointer warn_data;
  const char *volume_id;   /* recovery of a deletion: which volume it was, or
                            NULL.  Where a driver's ids outlast a remount,
                            another one is NOT_FOUND, as if there were none */
  const char *mechanism;   /* creation: how a guest's disk is cut, by the words
                              of its driver; NULL: as it thinks best */
  const char *scratch_dir; /* creation: where the old bytes of a guest's disk
                              are kept while it is read; NULL: beside it */
  const char *consumer;    /* creation: whose backup it is for, so that
                              acknowledging it ends the bases of nobody else;
                              NULL: everybody's who has no name */
  SnapQuiesce quiesce;     /* creation: how the guest of the set is quieted
                              while the window lasts */
} SnapOpenOptions;

/* Embedded first in a driver's own struct; the driver sets all but the last
   two, which belong to service/volume. */
typedef struct {
  const SnapDriver *driver;
  char *location; /* as given, decoded; absolute if it is the path of a file
                     that is not there */
  char *part;     /* what stood after '#', or NULL */
  char *id;       /* identity of the volume on this host */
  char *label;    /* short name: the last part of the location */
  gatomicrefcount ref_count;
  SnapOpenOptions *options; /* what it was opened with */
} SnapVolume;

/* ---- creation ---- */

/* Embedded first in a driver's own struct; the driver sets every field. */
typedef struct {
  SnapVolume *volume; /* borrowed; outlives the cut */
  guint expected_ms;  /* how long cut() may take for this volume */
} SnapCut;

typedef enum {
  SNAP_RECOVER_COMMIT,
  SNAP_RECOVER_ABORT,
} SnapRecover;

/* ---- diffs ---- */

typedef enum {
  SNAP_PROOF_EXACT,    /* no more than the storage's granularity forces */
  SNAP_PROOF_SUPERSET, /* may hold more than changed */
} SnapProof;

typedef struct {
  SnapVolume *from_volume; /* equal to to_volume unless the storage can
                              compare two volumes; NULL for EMPTY */
  const SnapPoint *from;
  SnapVolume *to_volume;
  const SnapPoint *to;
  guint64 offset, length;    /* the part of @to that is asked for, bytes */
  GCancellable *cancellable; /* borrowed, or NULL: once cancelled, a diff ends
                                with CANCELLED, nothing left behind; emit()
                                sees to it, between two extents a driver */
} SnapDiffRequest;

typedef struct {
  guint64 granularity; /* bytes; set before the first extent is emitted */
  SnapProof proof;     /* final when diff() has returned */
  const char *source;  /* static string: "qcow2-l2", … */
} SnapDiffInfo;

struct _SnapDriver {
  guint32 abi;         /* SNAP_DRIVER_ABI */
  guint32 struct_size; /* sizeof (SnapDriver) where it was built */
  const char *name;    /* the reference prefix: [a-z][a-z0-9-]* */
  const char *description;

  /* How surely this driver knows @location, without side effects and
     without waiting: 0 not at all, 100 certain. */
  int (*probe) (const char *location);

  SnapVolume *(*open) (const char *location, const char *part,
                       const SnapOpenOptions *options, GError **error);
  void (*close) (SnapVolume *volume);

  /* All snapshots and checkpoints, oldest first; elements SnapPoint, freed by
     the array. */
  GPtrArray *(*list) (SnapVolume *volume, GError **error);

  /* The LIVE or BACKING point, with size and identity.  NOT_FOUND where there
     is none. */
  SnapPoint *(*special) (SnapVolume *volume, SnapPointKind kind,
                         GError **error);

  /* Delete exactly @point, checked by identity; NOT_FOUND if it is gone. */
  gboolean (*remove) (SnapVolume *volume, const SnapPoint *point,
                      GError **error);

  /*
   * Creation, one call each, in this order:
   *
   * plan     checks everything that can be checked (names, room, tools) and
   *          changes nothing.  *record describes what is about to be made,
   *          in one line of text; native names contain @set_id.  The service
   *          has every record of the set on disk before it goes on.
   * prepare  optional: everything slow that creates (placeholders, scratch).
   * cut      the instant, for all cuts of this driver in the set; a guest may
   *          stand still meanwhile.
   * settle   optional, see below: what of the cut can wait until it runs.
   * commit   or abort: make it last, or leave no trace.  abort is also
   *          called after a plan that never was prepared, and after a cut
   *          that failed half-way.  Only TRUE means that no trace is left.
   * free_cut always, last.
   */
  SnapCut *(*plan) (SnapVolume *volume, const char *name, const char *set_id,
                    char **record, GError **error);
  gboolean (*prepare) (SnapCut *cut, GError **error);
  gboolean (*cut) (SnapCut **cuts, gsize n_cuts, GError **error);
  gboolean (*commit) (SnapCut *cut, GError **error);
  gboolean (*abort) (SnapCut *cut, GError **error);
  void (*free_cut) (SnapCut *cut);

  /* Whether cut() would cut all of these at one instant.  NULL: only when
     there is one. */
  gboolean (*cuts_at_once) (SnapCut **cuts, gsize n_cuts);

  /* Finish or undo a set after a crash, from its record alone, perhaps in
     another process.  Idempotent; TRUE when there is nothing left to do.  A
     storage that is not there is NOT_FOUND: it may come back. */
  gboolean (*recover) (const char *record, SnapRecover action, GError **error);

  /* Cheap, decides what a server lists.  FALSE sets NOT_COMPARABLE and why. */
  gboolean (*comparable) (const SnapDiffRequest *request, GError **error);

  /*
   * Emit the dirty extents of @request: flags DIRTY, and ZERO where @to is
   * known to read as zeroes; aligned outward to the granularity, inside
   * [offset, offset + length).  A changed byte that is not emitted is data
   * loss: what cannot be proved equal is dirty, and what cannot be decided
   * at all is NOT_COMPARABLE.
   */
  gboolean (*diff) (const SnapDiffRequest *request, SnapDiffInfo *info,
                    SnapExtentFunc emit, gpointer user_data, GError **error);

  /* Open a point for reading.  No process or thread is started before the
     first read. */
  SnapImage *(*open_image) (SnapVolume *volume, const SnapPoint *point,
                            GError **error);

  /*
   * Optional, a part of the cut: add to @window what makes the instant where
   * that means suspending devices.  Called once for all cuts of this driver,
   * when everything is prepared; changes nothing itself.  After cut() of all
   * drivers of the set their windows are carried out as one, by a process
   * that answers for the resume; cuts_at_once() counts it in.
   */
  gboolean (*window) (SnapCut **cuts, gsize n_cuts, SnapWindow *window,
                      GError **error);

  /* Optional, a part of recovery: remove what a remove() that was killed has
     left besides its point.  Idempotent. */
  gboolean (*sweep) (SnapVolume *volume, GError **error);

  /* Optional.  The absolute path of a file or block device that holds exactly
     the bytes of @point, for any program to read as it is: nothing need be
     activated.  The caller frees; NULL where there is none now. */
  char *(*plain_path) (SnapVolume *volume, const SnapPoint *point);

  /*
   * Optional, where a point has such a path only while it is activated: make
   * it one until deactivate(), and return it; the caller frees.  Neither is
   * an error where it is so already.
   *
   * Errors: NOT_FOUND; BUSY (deactivate: somebody reads it).
   */
  char *(*activate) (SnapVolume *volume, const SnapPoint *point,
                     GError **error);
  gboolean (*deactivate) (SnapVolume *volume, const SnapPoint *point,
                          GError **error);

  /* Optional, a part of recovery, for all of the driver's storage: undo what
     readers that were killed have left, of which no record tells, and add the
     number of such things to *n_undone.  What is in use stays.  Idempotent. */
  gboolean (*tidy) (guint *n_undone, GError **error);

  /* Optional.  The path of the block device whose bytes are the volume's, where
     there is one now; the caller frees.  Its writers may have to wait while
     the volume is cut. */
  char *(*device) (SnapVolume *volume);

  /*
   * Optional, where a point takes room or bases away as long as nobody has
   * read it: a consumer's word that its copy of @point succeeded, or @failed.
   *
   * Succeeded: the data goes, what tracks changes since @point stays as a
   * checkpoint, and the same consumer's older ones go.  Failed: all of @point
   * goes; older points stay bases as they were.  Idempotent.
   *
   * Errors: NOT_FOUND; FAILED (the data was lost before: a copy that was read
   * meanwhile may be wrong; all is as it was).
   */
  gboolean (*acknowledge) (SnapVolume *volume, const SnapPoint *point,
                           gboolean failed, GError **error);

  /* Optional.  The path of the QMP socket of the guest whose disk the volume
     is; the caller frees.  Commands of the window are for that one. */
  char *(*monitor) (SnapVolume *volume);

  /* Optional, a part of creation: after cut() of all drivers, when nobody
     stands still any more, and before the set is complete: write to stable
     storage what cut() left in memory.  Once for all cuts of this driver. */
  gboolean (*settle) (SnapCut **cuts, gsize n_cuts, GError **error);

  /*
   * Optional, where asking the storage is slow: look at it once for all of
   * @volumes.  Until look_away(), list, special, plan, comparable and diff may
   * answer from what was seen; whoever must know what is true now looks away
   * first.  All by the one thread that has the volumes.
   */
  gboolean (*look) (SnapVolume **volumes, gsize n_volumes, GError **error);
  void (*look_away) (SnapVolume **volumes, gsize n_volumes);
};

/* Whether a driver, perhaps built against an older header, has an op that was
   appended later. */
#define SNAP_DRIVER_HAS(driver, op)                            \
  ((driver)->struct_size                                       \
       >= G_STRUCT_OFFSET (SnapDriver, op) + sizeof (gpointer) \
   && (driver)->op != NULL)

#define SNAP_DRIVER_INIT \
  .abi = SNAP_DRIVER_ABI, .struct_size = sizeof (SnapDriver)

/*
 * In a loadable module: the one exported symbol, a function that returns the
 * driver.
 */
#define SNAP_DRIVER_ENTRY "snap_driver_entry"
#define SNAP_DRIVER_EXPORT(driver)                            \
  G_MODULE_EXPORT const SnapDriver *snap_driver_entry (void); \
  G_MODULE_EXPORT const SnapDriver *snap_driver_entry (void)  \
  {                                                           \
    return &(driver);                                         \
  }

/* For image ops that were built against an older header. */
static inline gboolean
snap_image_has_file_range (const SnapImage *image)
{
  return image->ops->struct_size
             >= G_STRUCT_OFFSET (SnapImageOps, file_range) + sizeof (void *)
         && image->ops->file_range != NULL;
}

#endif
