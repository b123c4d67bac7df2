/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The documents of the state directory as text: what a set consists of, and
 * what a journal entry says is being created or deleted.
 *
 *   {"schema":"nbdsnap/set/1","set":ID,"name":…,"volumes":[…]}
 *   {"schema":"nbdsnap/journal/1","op":"create"|"delete","set":ID,…}
 *
 * Strings of the outside (paths and names in any bytes) are written with %XX
 * for what is not plain UTF-8 text, and for brackets: so the only brackets in
 * a document are its structure.
 *
 * No I/O.  Parsing takes any bytes and never trusts them.
 */
#ifndef SNAP_FORMAT_MANIFEST_H
#define SNAP_FORMAT_MANIFEST_H

#include <glib.h>

#include "snapshot-core/base/quiesce.h"

typedef enum {
  SNAP_MANIFEST_SET,    /* a finished set */
  SNAP_MANIFEST_CREATE, /* a journal entry: these are being made */
  SNAP_MANIFEST_DELETE, /* a journal entry: these are to go */
} SnapManifestKind;

/* One volume of a document.  Unused fields are NULL. */
typedef struct {
  char *driver;
  char *location;
  char *part;
  char *volume_id;

  char *record; /* CREATE: what the driver wrote about it; required there */

  /* DELETE: which point goes; point_id is required there. */
  char *point;
  char *point_id;
  char *handle;
  char *point_set; /* the set that it was cut in */

  /* DELETE: what the volume must be opened with again. */
  char *secret_file;
  char *snapshot_dir;
} SnapManifestMember;

/* The guest that a set was cut under.  Its sockets are absolute paths. */
typedef struct {
  char *monitor; /* QMP; NULL: there is no guest, and nothing else counts */
  char *agent;   /* the guest agent's, or NULL */
  SnapQuiesce quiesce; /* what was reached or, in a journal entry, is wanted */
  guint64 stopped_us, frozen_us; /* how long, in microseconds; 0: not at all */
} SnapManifestGuest;

typedef struct {
  SnapManifestKind kind;
  char *id;   /* of the set, or of the deletion */
  char *name; /* of the set, NULL for a deletion */
  gboolean atomic;
  guint64 window_us;
  SnapManifestGuest guest;
  char *post_cut; /* CREATE: the user's command that is to be run, or NULL */
  GPtrArray *members; /* SnapManifestMember */
} SnapManifest;

SnapManifest *snap_manifest_new (SnapManifestKind kind, const char *id,
                                 const char *name);
void snap_manifest_free (SnapManifest *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapManifest, snap_manifest_free)

/* Add a member of which only driver and location are set yet; borrowed. */
SnapManifestMember *snap_manifest_add (SnapManifest *self, const char *driver,
                                       const char *location);

/* One line of JSON, with its newline; the caller frees. */
char *snap_manifest_format (const SnapManifest *self);

/*
 * Read what snap_manifest_format() wrote.  @object names the document in
 * messages.  Errors: CORRUPT.
 */
SnapManifest *snap_manifest_parse (const char *text, const char *object,
                                   GError **error);

#endif
