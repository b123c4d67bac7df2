/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far the tables of an image reach.  VHDX and VHD images are left out:
 * QEMU looks there itself.  Raw and LUKS images have no tables.
 */
#include "config.h"

#include "snapshot-core/format/disk-image.h"

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/format/disk-image-private.h"

/* The most that is read of tables, bytes: those of 32 TiB in 64 KiB clusters. */
#define MAX_TABLES (G_GUINT64_CONSTANT (4) << 30)

#define PIECE 65536

#define PARALLELS_HEADER 64
/* Sectors of a cluster: as QEMU has it, and then no offset overflows. */
#define PARALLELS_MAX_CLUSTER (G_MAXINT32 / 513)

typedef struct Walk Walk;

struct Walk {
  SnapReader *reader;
  guint64 end;     /* the first byte behind all that was found */
  guint64 n_bytes; /* of tables that were read */
  guint64 unit;    /* of an entry, bytes */
  guint64 base;    /* where counting begins */
  guint64 length;  /* of what an entry points to, bytes */
  guint64 n_below; /* entries of a table that an entry points to */
  guint32 none;    /* entries up to it point to nothing */
};

typedef gboolean (*EntryFunc) (Walk *walk, guint64 entry, GError **error);

static guint64
take_entry (SnapBytes *in, gsize width)
{
  return width == 4 ? snap_bytes_take_le32 (in) : snap_bytes_take_le64 (in);
}

/* Tell @func each of @n entries of @width bytes that lie at @offset. */
static gboolean
each_entry (Walk *walk, guint64 offset, guint64 n, gsize width, EntryFunc func,
            GError **error)
{
  g_autofree guint8 *piece = g_malloc (PIECE);
  guint64 left = n * width;

  if (n > MAX_TABLES / width || left > MAX_TABLES - walk->n_bytes)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "its tables are larger than %d GiB",
                           (int) (MAX_TABLES >> 30));
  if (left > walk->reader->size - MIN (walk->n_bytes, walk->reader->size))
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "the file was cut off, or its tables overlap: they "
                           "are larger than it");
  walk->n_bytes += left;
  while (left > 0) {
    gsize length = MIN (left, PIECE);
    SnapBytes in = { .at = piece, .left = length };

    if (!snap_reader_read (walk->reader, offset, piece, length, error))
      return FALSE;
    while (in.left > 0)
      if (!func (walk, take_entry (&in, width), error))
        return FALSE;
    offset += length;
    left -= length;
  }
  return TRUE;
}

/* Offsets of 64 bits can be anything. */
static gboolean
note_data (Walk *walk, guint64 entry, GError **error)
{
  if (entry <= walk->none)
    return TRUE;
  if (entry > G_MAXINT64 / walk->unit
      || entry * walk->unit > G_MAXINT64 - walk->base - walk->length)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "a table points to nowhere");
  walk->end = MAX (walk->end, walk->base + entry * walk->unit + walk->length);
  return TRUE;
}

static gboolean
read_fields (SnapReader *reader, guint64 offset, guint32 *fields, gsize n,
             GError **error)
{
  guint8 raw[64];
  SnapBytes in = { .at = raw, .left = n * 4 };

  if (!snap_reader_read (reader, offset, raw, n * 4, error))
    return FALSE;
  for (gsize i = 0; i < n; i++)
    fields[i] = snap_bytes_take_le32 (&in);
  return TRUE;
}

/* ---- VDI: one map of blocks, counted from 0 ---- */

static gboolean
note_vdi_block (Walk *walk, guint64 entry, GError **error)
{
  /* The last two numbers stand for no block. */
  return entry >= G_MAXUINT32 - 1 || note_data (walk, entry + 1, error);
}

static gboolean
walk_vdi (Walk *walk, GError **error)
{
  enum { MAP_AT, DATA_AT };
  enum { BLOCK_SIZE, EXTRA, N_BLOCKS };
  guint32 places[2];
  guint32 sizes[3];

  if (!read_fields (walk->reader, 0x154, places, 2, error)
      || !read_fields (walk->reader, 0x178, sizes, 3, error))
    return FALSE;
  walk->base = places[DATA_AT];
  walk->unit = MAX (sizes[BLOCK_SIZE], 1);
  return each_entry (walk, places[MAP_AT], sizes[N_BLOCKS], 4, note_vdi_block,
                     error);
}

/* ---- Parallels: one map of clusters ---- */

static gboolean
walk_parallels (Walk *walk, GError **error)
{
  enum { TRACKS, N_ENTRIES };
  guint32 sizes[2];
  guint8 magic[16];

  if (!snap_reader_read (walk->reader, 0, magic, sizeof magic, error)
      || !read_fields (walk->reader, 28, sizes, 2, error))
    return FALSE;
  if (sizes[TRACKS] == 0 || sizes[TRACKS] > PARALLELS_MAX_CLUSTER)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "Parallels header: sizes that cannot be");
  walk->length = (guint64) sizes[TRACKS] * SNAP_DISK_SECTOR;
  walk->unit = magic[13] == 'E' ? walk->length : SNAP_DISK_SECTOR;
  return each_entry (walk, PARALLELS_HEADER, sizes[N_ENTRIES], 4, note_data,
                     error);
}

/* ---- QED: a table of tables ---- */

static gboolean
walk_qed_table (Walk *walk, guint64 entry, GError **error)
{
  return entry == 0
         || each_entry (walk, entry, walk->n_below, 8, note_data, error);
}

static gboolean
walk_qed (Walk *walk, GError **error)
{
  SnapQedHeader header;

  if (!snap_qed_header_read (walk->reader, &header, error))
    return FALSE;
  walk->unit = 1;
  walk->length = header.cluster_size;
  walk->none = 1; /* a cluster of zeroes */
  walk->n_below = (guint64) header.cluster_size * header.table_size / 8;
  return each_entry (walk, header.l1_offset, walk->n_below, 8, walk_qed_table,
                     error);
}

/* ---- VMDK: a directory of tables of grains ---- */

static gboolean
walk_vmdk_table (Walk *walk, guint64 entry, GError **error)
{
  return entry == 0
         || each_entry (walk, entry * SNAP_DISK_SECTOR, walk->n_below, 4,
                        note_data, error);
}

/* A compressed grain says itself how long it is; the last one is asked. */
static gboolean
measure_last_grain (Walk *walk, GError **error)
{
  enum { MARKER = 12, LENGTH_AT = 8 };
  guint32 length;

  if (walk->end == 0)
    return TRUE;
  if (!read_fields (walk->reader, walk->end - MARKER + LENGTH_AT, &length, 1,
                    error))
    return FALSE;
  walk->end += length;
  return TRUE;
}

static gboolean
walk_vmdk (Walk *walk, GError **error)
{
  const guint32 measured = SNAP_VMDK_COMPRESSED | SNAP_VMDK_MARKERS;
  SnapVmdkHeader header;
  gboolean compressed;
  guint64 span;

  if (!snap_vmdk_header_read (walk->reader, &header, error))
    return FALSE;
  compressed = (header.flags & measured) == measured;
  if (header.directory_at > G_MAXINT64 / SNAP_DISK_SECTOR)
    return snap_error_set (error, SNAP_ERROR_CORRUPT,
                           "VMDK header: a directory that is nowhere");
  span = header.n_entries * header.granularity;
  walk->unit = SNAP_DISK_SECTOR;
  walk->length = compressed ? 12 : header.granularity * SNAP_DISK_SECTOR;
  walk->none = (header.flags & SNAP_VMDK_ZEROED_GRAINS) != 0;
  walk->n_below = header.n_entries;
  return each_entry (walk, header.directory_at * SNAP_DISK_SECTOR,
                     header.capacity / span + (header.capacity % span != 0), 4,
                     walk_vmdk_table, error)
         && (!compressed || measure_last_grain (walk, error));
}

/* ---- all ---- */

static gboolean
walk_tables (Walk *walk, SnapDiskFormat format, GError **error)
{
  switch (format) {
  case SNAP_DISK_PARALLELS:
    return walk_parallels (walk, error);
  case SNAP_DISK_QED:
    return walk_qed (walk, error);
  case SNAP_DISK_VDI:
    return walk_vdi (walk, error);
  case SNAP_DISK_VMDK:
    return walk_vmdk (walk, error);
  case SNAP_DISK_LUKS:
  case SNAP_DISK_RAW:
  case SNAP_DISK_VHDX:
  case SNAP_DISK_VPC:
  default:
    return TRUE;
  }
}

gboolean
snap_disk_image_check_end (SnapReader *reader, SnapDiskFormat format,
                           GError **error)
{
  Walk walk = { .reader = reader };

  if (!walk_tables (&walk, format, error))
    return FALSE;
  if (walk.end <= reader->size)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_CORRUPT,
                         "the file was cut off: it has %" G_GUINT64_FORMAT
                         " bytes, and its tables reach to %" G_GUINT64_FORMAT,
                         reader->size, walk.end);
}
