/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of a guest: what query-block and query-named-block-nodes say,
 * made into a list.  Pure functions of two answers of QEMU, which are hostile
 * like all from outside.
 */
#ifndef QMP_DISKS_H
#define QMP_DISKS_H

#include <json-glib/json-glib.h>

#include "qmp/error.h"

typedef struct {
  char *name; /* bitmap */
  guint64 granularity;
  gboolean recording, persistent, inconsistent, busy;
} QmpBitmap;

typedef struct {
  char *device;   /* what a user calls it: the id of its device or, where it
                      has none, of its drive, or the node's name */
  char *qdev;     /* QOM path of the device, or NULL */
  char *top;      /* the node the device writes to: a filter, or @node */
  char *node;     /* the format node below all filters */
  char *format;   /* "qcow2", "raw", … */
  char *protocol; /* "file", "host_device", … */
  char *filename; /* of the protocol layer, as QEMU has it: may be relative to
                      QEMU's directory, or no path at all */
  guint64 size;   /* bytes */
  gboolean read_only, removable, encrypted;
  gboolean has_backing;
  GPtrArray *bitmaps; /* QmpBitmap, of @node, those without a name left out */
} QmpDisk;

void qmp_disk_free (QmpDisk *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpDisk, qmp_disk_free)

/*
 * List every device with a medium, in QEMU's order; elements QmpDisk, freed by
 * the array.  @block and @nodes are the values that query-block and
 * query-named-block-nodes (flat: false) returned.  Errors: PROTOCOL.
 */
GPtrArray *qmp_disks_parse (JsonNode *block, JsonNode *nodes, GError **error);

/* Borrowed, or NULL.  By device id, node name, or what "drive" names. */
QmpDisk *qmp_disks_find (GPtrArray *disks, const char *device);

#endif
