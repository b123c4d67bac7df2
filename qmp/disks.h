/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of a guest, made of what QEMU says of its devices and nodes.  The
 * parser is a pure function of QEMU's answers, which are hostile like all from
 * outside.
 *
 * Nodes change: whoever has changed one, or was away, asks again.
 */
#ifndef QMP_DISKS_H
#define QMP_DISKS_H

#include "qmp/client.h"

typedef struct {
  char *name; /* bitmap */
  guint64 granularity;
  gboolean recording, persistent, inconsistent, busy;
} QmpBitmap;

typedef struct {
  char *device;   /* what a user calls it: the id of its device or, where it
                     has none, of its drive, or the node's name */
  char *drive;    /* the id of its drive, or NULL */
  char *qdev;     /* as QEMU has it: a QOM path or an id; or NULL */
  char *top;      /* the node the device writes to: a filter, or @node */
  char *node;     /* below all filters.  Were a filter's child not told, it
                     would be the filter, and its driver the format */
  char *format;   /* "qcow2", "raw", …; "raw" also if @node is a protocol's */
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
 * the array.  The arguments are the values that query-block,
 * query-named-block-nodes and query-blockstats returned, the last of which
 * tells what is below a filter.  Errors: PROTOCOL.
 */
GPtrArray *qmp_disks_parse (JsonNode *block, JsonNode *nodes, JsonNode *stats,
                            GError **error);

/* Ask for the three and parse them; @timeout_ms is for all.  PROTOCOL also if
   nodes were changed between them: try again.  Errors: all. */
GPtrArray *qmp_disks_list (QmpClient *client, guint timeout_ms, GError **error);

/* Borrowed, or NULL.  By device id; else by what "drive" names, a node, or
   @qdev. */
QmpDisk *qmp_disks_find (GPtrArray *disks, const char *device);

#endif
