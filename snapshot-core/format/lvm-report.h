/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `lvs --reportformat json` prints, as structs.
 *
 * Every value of that report is a string, sizes in bytes because the caller
 * asks for them with `--units b --nosuffix`, times in seconds because of
 * `report/time_format="%s"`.  Names of hidden volumes stand in brackets, which
 * are taken off.  Source: lvmreport(7) and the output of lvm2 2.03.16.
 *
 * No I/O.  The text is not trusted.
 */
#ifndef SNAP_FORMAT_LVM_REPORT_H
#define SNAP_FORMAT_LVM_REPORT_H

#include <glib.h>

/* The fields that snap_lvm_report_parse() knows, for `lvs -o`. */
#define SNAP_LVM_REPORT_FIELDS                                            \
  "lv_name,lv_uuid,vg_name,vg_uuid,lv_size,lv_time,lv_tags,lv_dm_path,"   \
  "lv_active,lv_permissions,lv_merging,lv_snapshot_invalid,"              \
  "lv_health_status,origin,origin_uuid,origin_size,pool_lv,pool_lv_uuid," \
  "metadata_lv,data_percent,metadata_percent,segtype,thin_id,chunk_size," \
  "transaction_id,vg_free,vg_extent_size"

/* One logical volume.  Strings that were empty are NULL. */
typedef struct {
  char *name;
  char *uuid;
  char *vg;
  char *vg_uuid;
  char *dm_path; /* "/dev/mapper/…" */
  char *segtype; /* "thin", "thin-pool", "linear", … */
  char *origin;  /* name and UUID of what this is a snapshot of */
  char *origin_uuid;
  char *pool; /* name and UUID of the thin pool */
  char *pool_uuid;
  char *metadata_lv; /* of a pool */
  char *health;      /* NULL if all is well */
  char **tags;       /* never NULL */

  guint64 size;           /* bytes */
  guint64 origin_size;    /* bytes, of a classic snapshot; else 0 */
  guint64 chunk_size;     /* bytes, of a pool or a classic snapshot; else 0 */
  guint64 vg_free;        /* bytes of the group that no volume has */
  guint64 extent_size;    /* bytes, in which the group is dealt out */
  guint32 thin_id;        /* 0: none; LVM counts from 1 */
  guint64 transaction_id; /* of a pool: what LVM expects it to be at */
  gint64 time_us;         /* of creation, since the epoch; 0 if not known */
  double data_percent;    /* of a pool or snapshot; -1 while inactive */
  double metadata_percent;

  gboolean active;
  gboolean writeable;
  gboolean merging; /* on its way back into its origin */
  gboolean invalid; /* a classic snapshot that overflowed */
} SnapLvmVolume;

/*
 * All volumes of a report, each once; freed by the array.  @object names the
 * report in messages.  Errors: CORRUPT.
 */
GPtrArray *snap_lvm_report_parse (const char *json, const char *object,
                                  GError **error);

/* The volume with this UUID, or of this name in this group; borrowed, NULL
   if there is none. */
const SnapLvmVolume *snap_lvm_report_by_uuid (GPtrArray *volumes,
                                              const char *uuid);
const SnapLvmVolume *snap_lvm_report_by_name (GPtrArray *volumes,
                                              const char *vg, const char *name);

/* What follows "PREFIX=" in the first tag of a volume that begins so; borrowed,
   NULL if none does. */
const char *snap_lvm_volume_tag (const SnapLvmVolume *self, const char *prefix);

#endif
