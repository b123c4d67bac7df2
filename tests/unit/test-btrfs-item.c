/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <string.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/format/btrfs-item.h"

#define EXTENT_LENGTH 53

/* One item as the kernel hands it out. */
static GByteArray *
make_item (guint64 offset, guint32 type, const void *body, guint32 length)
{
  GByteArray *buffer = g_byte_array_new ();
  const struct btrfs_ioctl_search_header header = {
    .objectid = 257, .offset = offset, .type = type, .len = length
  };

  g_byte_array_append (buffer, (const guint8 *) &header, sizeof header);
  g_byte_array_append (buffer, body, length);
  return buffer;
}

static void
put_le64 (guint8 *at, guint64 value)
{
  value = GUINT64_TO_LE (value);
  memcpy (at, &value, sizeof value);
}

static void
fill_extent (guint8 *body, guint8 type, guint64 disk_start, guint64 length)
{
  memset (body, 0, EXTENT_LENGTH);
  put_le64 (body + 8, 0x20000); /* ram_bytes */
  body[16] = 3;                 /* compression */
  body[20] = type;
  put_le64 (body + 21, disk_start);
  put_le64 (body + 29, 0x4000); /* disk_num_bytes */
  put_le64 (body + 37, 0x1000); /* offset */
  put_le64 (body + 45, length);
}

/* Parse from a copy of exactly the size, so that reading over it is seen. */
static gboolean
parse (const GByteArray *buffer, gsize length, SnapBtrfsExtent *extent,
       GError **error)
{
  g_autofree guint8 *copy = g_memdup2 (buffer->data, length);
  SnapBytes bytes = { .at = copy, .left = length };
  SnapBtrfsItem item;

  if (!snap_btrfs_item_take (&bytes, &item))
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "cut off");
  return snap_btrfs_extent_parse (&item, extent, error);
}

static void
test_reads_every_field_of_an_extent (void)
{
  guint8 body[EXTENT_LENGTH];
  g_autoptr (GByteArray) buffer = NULL;
  SnapBtrfsExtent extent;

  fill_extent (body, BTRFS_FILE_EXTENT_REG, 0x700000, 0x3000);
  buffer = make_item (0x5000, BTRFS_EXTENT_DATA_KEY, body, sizeof body);
  g_assert_true (parse (buffer, buffer->len, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, SNAP_BTRFS_DATA);
  g_assert_cmpuint (extent.start, ==, 0x5000);
  g_assert_cmpuint (extent.length, ==, 0x3000);
  g_assert_cmpuint (extent.disk_start, ==, 0x700000);
  g_assert_cmpuint (extent.disk_length, ==, 0x4000);
  g_assert_cmpuint (extent.ram_length, ==, 0x20000);
  g_assert_cmpuint (extent.shift, ==, (guint64) 0x1000 - 0x5000);
  g_assert_cmpuint (extent.encoding, ==, 3u << 24);
}

static void
test_tells_the_kinds_apart (void)
{
  static const struct {
    guint8 type;
    guint64 disk_start;
    SnapBtrfsKind kind;
  } cases[] = {
    { BTRFS_FILE_EXTENT_REG, 1 << 20, SNAP_BTRFS_DATA },
    { BTRFS_FILE_EXTENT_REG, 0, SNAP_BTRFS_HOLE },
    { BTRFS_FILE_EXTENT_PREALLOC, 1 << 20, SNAP_BTRFS_PREALLOC },
    { BTRFS_FILE_EXTENT_INLINE, 0, SNAP_BTRFS_INLINE },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    guint8 body[EXTENT_LENGTH];
    g_autoptr (GByteArray) buffer = NULL;
    SnapBtrfsExtent extent;

    fill_extent (body, cases[i].type, cases[i].disk_start, 0x1000);
    buffer = make_item (0, BTRFS_EXTENT_DATA_KEY, body, sizeof body);
    g_assert_true (parse (buffer, buffer->len, &extent, NULL));
    g_assert_cmpint (extent.kind, ==, cases[i].kind);
  }
}

static void
test_refuses_every_truncation (void)
{
  guint8 body[EXTENT_LENGTH];
  g_autoptr (GByteArray) buffer = NULL;
  SnapBtrfsExtent extent;

  fill_extent (body, BTRFS_FILE_EXTENT_REG, 1 << 20, 0x1000);
  buffer = make_item (0, BTRFS_EXTENT_DATA_KEY, body, sizeof body);
  for (gsize length = 0; length < buffer->len; length++) {
    g_autoptr (GError) error = NULL;

    g_assert_false (parse (buffer, length, &extent, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  }
  for (guint32 length = 0; length < sizeof body; length++) {
    g_autoptr (GByteArray) shorter =
        make_item (0, BTRFS_EXTENT_DATA_KEY, body, length);

    g_assert_false (parse (shorter, shorter->len, &extent, NULL));
  }
}

static void
test_refuses_what_cannot_be (void)
{
  static const struct {
    guint64 offset, length;
    guint8 type;
  } cases[] = {
    { 0, 0, BTRFS_FILE_EXTENT_REG },
    { G_MAXUINT64, 0x1000, BTRFS_FILE_EXTENT_REG },
    { 0x1000, G_MAXUINT64, BTRFS_FILE_EXTENT_REG },
    { 0, 0x1000, 3 },
    { 0, 0x1000, 255 },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    guint8 body[EXTENT_LENGTH];
    g_autoptr (GByteArray) buffer = NULL;
    g_autoptr (GError) error = NULL;
    SnapBtrfsExtent extent;

    fill_extent (body, cases[i].type, 1 << 20, cases[i].length);
    buffer =
        make_item (cases[i].offset, BTRFS_EXTENT_DATA_KEY, body, sizeof body);
    g_assert_false (parse (buffer, buffer->len, &extent, &error));
    g_assert_error (error, SNAP_ERROR, SNAP_ERROR_CORRUPT);
  }
}

static void
test_reads_an_inode (void)
{
  guint8 body[160] = { 0 };
  g_autoptr (GByteArray) buffer = NULL;
  SnapBytes bytes;
  SnapBtrfsItem item;
  SnapBtrfsInode inode;

  put_le64 (body, 11);
  put_le64 (body + 8, 22);
  put_le64 (body + 16, 33);
  put_le64 (body + 24, 44);
  put_le64 (body + 64, 1 << 4); /* flags: preallocated */
  buffer = make_item (0, BTRFS_INODE_ITEM_KEY, body, sizeof body);
  bytes = (SnapBytes){ .at = buffer->data, .left = buffer->len };
  g_assert_true (snap_btrfs_item_take (&bytes, &item));
  g_assert_cmpuint (item.object_id, ==, 257);
  g_assert_true (snap_btrfs_inode_parse (&item, &inode, NULL));
  g_assert_cmpuint (inode.generation, ==, 11);
  g_assert_cmpuint (inode.size, ==, 33);
  g_assert_cmpuint (inode.allocated, ==, 44);
  g_assert_true (inode.may_be_preallocated);
  body[64] = 0xef;
  item.body.at = body;
  g_assert_true (snap_btrfs_inode_parse (&item, &inode, NULL));
  g_assert_false (inode.may_be_preallocated);
  item.body.left = 71;
  g_assert_false (snap_btrfs_inode_parse (&item, &inode, NULL));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/btrfs-item/reads-every-field-of-an-extent",
                   test_reads_every_field_of_an_extent);
  g_test_add_func ("/btrfs-item/tells-the-kinds-apart",
                   test_tells_the_kinds_apart);
  g_test_add_func ("/btrfs-item/refuses-every-truncation",
                   test_refuses_every_truncation);
  g_test_add_func ("/btrfs-item/refuses-what-cannot-be",
                   test_refuses_what_cannot_be);
  g_test_add_func ("/btrfs-item/reads-an-inode", test_reads_an_inode);
  return g_test_run ();
}
