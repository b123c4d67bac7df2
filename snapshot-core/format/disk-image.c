/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/format/disk-image.h"

#include <string.h>

#include "snapshot-core/base/bytes.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/format/disk-image-private.h"

/* ---- the formats ---- */

typedef struct {
  const char *name;
  gsize magic_at;
  const char *magics[2]; /* of which one begins it */
  const char *endings[3];
} Format;

static const Format formats[] = {
  [SNAP_DISK_LUKS] = { "luks", 0, { "LUKS\xba\xbe" }, { ".luks" } },
  [SNAP_DISK_PARALLELS] = { "parallels",
                            0,
                            { "WithoutFreeSpace", "WithouFreSpacExt" },
                            { ".hds", ".hdd", ".parallels" } },
  [SNAP_DISK_QED] = { "qed", 0, { "QED" }, { ".qed" } },
  [SNAP_DISK_RAW] = { "raw", 0, { NULL }, { NULL } },
  [SNAP_DISK_VDI] = { "vdi", 64, { "\x7f\x10\xda\xbe" }, { ".vdi" } },
  [SNAP_DISK_VHDX] = { "vhdx", 0, { "vhdxfile" }, { ".vhdx" } },
  [SNAP_DISK_VMDK] = { "vmdk", 0, { "KDMV" }, { ".vmdk" } },
  [SNAP_DISK_VPC] = { "vpc", 0, { "conectix" }, { ".vhd", ".vpc" } },
};

/* What is known and not read. */
static const struct {
  const char *magic, *fact;
} refused[] = {
  { "QFI\xfb", "a qcow2 image, which is a volume of the qcow2 driver" },
  { "# Disk DescriptorFile",
    "a VMDK descriptor: the disk lies in other files" },
  { "COWD", "a VMDK image of ESX, which is not supported" },
};

/* As far as any magic reaches. */
#define HEAD 128

#define QED_BACKING 1
#define QED_BACKING_IS_RAW 4

#define QED_MIN_CLUSTER (1U << 12)
#define QED_MAX_CLUSTER (1U << 26)
#define QED_MAX_TABLE 16
#define QED_MAX_BACKING 1023

#define VMDK_DIRECTORY_AT_END G_MAXUINT64
/* From the end of the file: the footer's marker, itself, the last marker. */
#define VMDK_FOOTER (2 * SNAP_DISK_SECTOR)
#define VMDK_MAX_GRAIN 0x200000 /* sectors */
#define VMDK_MAX_ENTRIES 512
#define VMDK_DESCRIPTOR_AT SNAP_DISK_SECTOR
#define VMDK_MAX_DESCRIPTOR (20 * SNAP_DISK_SECTOR)

#define VHD_FOOTER 512
#define VHD_TYPE_AT 60
#define VHD_FIXED 2
#define VHD_DYNAMIC 3

const char *
snap_disk_format_name (SnapDiskFormat format)
{
  return formats[format].name;
}

gboolean
snap_disk_format_parse (const char *name, SnapDiskFormat *format)
{
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    if (g_str_equal (formats[i].name, name)) {
      *format = (SnapDiskFormat) i;
      return TRUE;
    }
  return FALSE;
}

const char *
snap_disk_format_names (void)
{
  return "luks, parallels, qed, raw, vdi, vhdx, vmdk, vpc";
}

static gboolean
has_ending (const Format *format, const char *lower)
{
  for (gsize i = 0; i < G_N_ELEMENTS (format->endings); i++)
    if (format->endings[i] != NULL
        && g_str_has_suffix (lower, format->endings[i]))
      return TRUE;
  return FALSE;
}

gboolean
snap_disk_format_of_name (const char *path, SnapDiskFormat *format)
{
  g_autofree char *lower = g_ascii_strdown (path, -1);

  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    if (has_ending (&formats[i], lower)) {
      *format = (SnapDiskFormat) i;
      return TRUE;
    }
  return FALSE;
}

/* A magic of three letters has a zero behind it that counts too. */
static gboolean
begins_with (const guint8 *head, gsize at, const char *magic)
{
  gsize length = MAX (strlen (magic), 4);

  return memcmp (head + at, magic, length) == 0;
}

static gboolean
is_format (const Format *format, const guint8 *head)
{
  for (gsize i = 0; i < G_N_ELEMENTS (format->magics); i++)
    if (format->magics[i] != NULL
        && begins_with (head, format->magic_at, format->magics[i]))
      return TRUE;
  return FALSE;
}

/* What is shorter is as if zeroes followed. */
static gboolean
read_head (SnapReader *reader, guint8 head[HEAD], GError **error)
{
  memset (head, 0, HEAD);
  return snap_reader_read (reader, 0, head, MIN (reader->size, HEAD), error);
}

gboolean
snap_disk_format_detect (SnapReader *reader, SnapDiskFormat *format,
                         GError **error)
{
  guint8 head[HEAD];

  if (!read_head (reader, head, error))
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    if (is_format (&formats[i], head)) {
      *format = (SnapDiskFormat) i;
      return TRUE;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (refused); i++)
    if (begins_with (head, 0, refused[i].magic))
      return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s",
                             refused[i].fact);
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "begins like none of the formats %s (raw is never "
                         "guessed, but named)",
                         snap_disk_format_names ());
}

/* ---- QED ---- */

static gboolean
corrupt (GError **error, const char *what)
{
  return snap_error_set (error, SNAP_ERROR_CORRUPT, "%s", what);
}

gboolean
snap_qed_header_read (SnapReader *reader, SnapQedHeader *header, GError **error)
{
  guint8 raw[64];
  SnapBytes in = { .at = raw, .left = sizeof raw };

  if (!snap_reader_read (reader, 0, raw, sizeof raw, error))
    return FALSE;
  snap_bytes_take (&in, 4);
  header->cluster_size = snap_bytes_take_le32 (&in);
  header->table_size = snap_bytes_take_le32 (&in);
  snap_bytes_take (&in, 4);
  header->features = snap_bytes_take_le64 (&in);
  snap_bytes_take (&in, 16);
  header->l1_offset = snap_bytes_take_le64 (&in);
  header->size = snap_bytes_take_le64 (&in);
  header->backing_offset = snap_bytes_take_le32 (&in);
  header->backing_length = snap_bytes_take_le32 (&in);
  if (header->cluster_size < QED_MIN_CLUSTER
      || header->cluster_size > QED_MAX_CLUSTER
      || (header->cluster_size & (header->cluster_size - 1)) != 0
      || header->table_size < 1 || header->table_size > QED_MAX_TABLE)
    return corrupt (error, "QED header: sizes that cannot be");
  return TRUE;
}

static char *
read_text (SnapReader *reader, guint64 offset, gsize length, GError **error)
{
  g_autofree char *text = g_malloc0 (length + 1);

  return snap_reader_read (reader, offset, text, length, error)
             ? g_steal_pointer (&text)
             : NULL;
}

static gboolean
read_qed (SnapReader *reader, SnapDiskImage *image, GError **error)
{
  SnapQedHeader header;

  if (!snap_qed_header_read (reader, &header, error))
    return FALSE;
  image->granularity = header.cluster_size;
  if ((header.features & QED_BACKING) == 0)
    return TRUE;
  if (header.backing_length > QED_MAX_BACKING)
    return corrupt (error, "QED header: the name of the backing file is too "
                           "long");
  image->backing_is_named = (header.features & QED_BACKING_IS_RAW) != 0;
  image->backing_format = SNAP_DISK_RAW;
  image->backing_file =
      read_text (reader, header.backing_offset, header.backing_length, error);
  return image->backing_file != NULL;
}

/* ---- VMDK ---- */

static gboolean
read_vmdk_header_at (SnapReader *reader, guint64 offset, SnapVmdkHeader *header,
                     GError **error)
{
  guint8 raw[64];
  SnapBytes in = { .at = raw, .left = sizeof raw };

  if (!snap_reader_read (reader, offset, raw, sizeof raw, error))
    return FALSE;
  if (memcmp (raw, formats[SNAP_DISK_VMDK].magics[0], 4) != 0)
    return corrupt (error, "VMDK: no footer, the file was cut off");
  snap_bytes_take (&in, 8);
  header->flags = snap_bytes_take_le32 (&in);
  header->capacity = snap_bytes_take_le64 (&in);
  header->granularity = snap_bytes_take_le64 (&in);
  header->descriptor_at = snap_bytes_take_le64 (&in);
  snap_bytes_take (&in, 8);
  header->n_entries = snap_bytes_take_le32 (&in);
  snap_bytes_take (&in, 8);
  header->directory_at = snap_bytes_take_le64 (&in);
  return TRUE;
}

gboolean
snap_vmdk_header_read (SnapReader *reader, SnapVmdkHeader *header,
                       GError **error)
{
  if (!read_vmdk_header_at (reader, 0, header, error))
    return FALSE;
  if (header->directory_at == VMDK_DIRECTORY_AT_END) {
    if (reader->size < VMDK_FOOTER)
      return corrupt (error, "VMDK: no footer, the file was cut off");
    if (!read_vmdk_header_at (reader, reader->size - VMDK_FOOTER, header,
                              error))
      return FALSE;
  }
  if (header->granularity == 0 || header->granularity > VMDK_MAX_GRAIN
      || header->n_entries == 0 || header->n_entries > VMDK_MAX_ENTRIES)
    return corrupt (error, "VMDK header: sizes that cannot be");
  return TRUE;
}

/* The value of KEY="VALUE" or KEY=VALUE; the caller frees, NULL if there is
   no such key. */
static char *
find_value (const char *text, const char *key)
{
  const char *at = strstr (text, key);

  if (at == NULL)
    return NULL;
  at += strlen (key);
  at += *at == '=';
  at += *at == '"';
  return g_strndup (at, strcspn (at, "\"\r\n"));
}

/* The search is QEMU's: the first place of the text at which the word stands. */
static gboolean
read_vmdk_parent (const char *descriptor, SnapDiskImage *image, GError **error)
{
  g_autofree char *parent = find_value (descriptor, "parentCID");

  image->backing_file = find_value (descriptor, "parentFileNameHint");
  image->backing_is_named = TRUE;
  image->backing_format = SNAP_DISK_VMDK;
  if (image->backing_file != NULL || parent == NULL
      || g_ascii_strcasecmp (parent, "ffffffff") == 0)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "a VMDK image that builds on another one, and does "
                         "not name it");
}

/* One without a capacity is a descriptor only.  An extent without a
   descriptor is a part of a disk. */
static gboolean
read_vmdk (SnapReader *reader, SnapDiskImage *image, GError **error)
{
  SnapVmdkHeader header;
  g_autofree char *descriptor = NULL;

  /* Of the beginning, whatever a footer says: that is what QEMU looks at. */
  if (!read_vmdk_header_at (reader, 0, &header, error))
    return FALSE;
  if (header.capacity == 0
      || header.descriptor_at * SNAP_DISK_SECTOR != VMDK_DESCRIPTOR_AT)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "a VMDK file that is not a whole disk: the disk "
                           "lies in other files");
  if (!snap_vmdk_header_read (reader, &header, error))
    return FALSE;
  image->granularity = header.granularity * SNAP_DISK_SECTOR;
  if (reader->size < VMDK_DESCRIPTOR_AT)
    return corrupt (error, "VMDK: the file was cut off");
  descriptor = read_text (
      reader, VMDK_DESCRIPTOR_AT,
      MIN (VMDK_MAX_DESCRIPTOR, reader->size - VMDK_DESCRIPTOR_AT), error);
  return descriptor != NULL && read_vmdk_parent (descriptor, image, error);
}

/* ---- VHD ---- */

static gboolean
read_vhd_footer (SnapReader *reader, guint64 offset, guint32 type,
                 const char *fact, GError **error)
{
  guint8 raw[VHD_TYPE_AT + 4];
  SnapBytes in = { .at = raw + VHD_TYPE_AT, .left = 4 };

  if (!snap_reader_read (reader, offset, raw, sizeof raw, error))
    return FALSE;
  if (begins_with (raw, 0, formats[SNAP_DISK_VPC].magics[0])
      && snap_bytes_take_be32 (&in) == type)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s", fact);
}

/* QEMU would read zeroes where a differencing disk has nothing of its own. */
static gboolean
read_vhd (SnapReader *reader, SnapDiskImage *image, GError **error)
{
  guint8 head[HEAD];

  if (!read_head (reader, head, error))
    return FALSE;
  if (is_format (&formats[SNAP_DISK_VPC], head))
    return read_vhd_footer (reader, 0, VHD_DYNAMIC,
                            "a VHD image that builds on another one, which is "
                            "not supported",
                            error);
  if (reader->size < VHD_FOOTER)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "no vpc image, or one that was cut off");
  return read_vhd_footer (reader, reader->size - VHD_FOOTER, VHD_FIXED,
                          "no vpc image, or one that was cut off", error);
}

/* ---- all ---- */

static gboolean
check_format (SnapReader *reader, SnapDiskFormat format, GError **error)
{
  guint8 head[HEAD];

  if (format == SNAP_DISK_RAW || format == SNAP_DISK_VPC)
    return TRUE;
  if (!read_head (reader, head, error))
    return FALSE;
  return is_format (&formats[format], head)
         || snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "no %s image",
                            formats[format].name);
}

static gboolean
read_format (SnapReader *reader, SnapDiskImage *image, GError **error)
{
  switch (image->format) {
  case SNAP_DISK_QED:
    return read_qed (reader, image, error);
  case SNAP_DISK_VMDK:
    return read_vmdk (reader, image, error);
  case SNAP_DISK_VPC:
    return read_vhd (reader, image, error);
  case SNAP_DISK_LUKS:
  case SNAP_DISK_PARALLELS:
  case SNAP_DISK_RAW:
  case SNAP_DISK_VDI:
  case SNAP_DISK_VHDX:
  default:
    return TRUE;
  }
}

SnapDiskImage *
snap_disk_image_read (SnapReader *reader, SnapDiskFormat format, GError **error)
{
  g_autoptr (SnapDiskImage) self = g_new0 (SnapDiskImage, 1);

  self->format = format;
  if (!check_format (reader, format, error)
      || !read_format (reader, self, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
snap_disk_image_free (SnapDiskImage *self)
{
  if (self == NULL)
    return;
  g_free (self->backing_file);
  g_free (self);
}
