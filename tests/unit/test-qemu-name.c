/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of bitmaps and nodes come from QEMU and from images: any text.
 */
#include "config.h"

#include <string.h>

#include "snapshot-core/drivers/qemu/qemu.h"

#define SET "0123456789abcdef"

static void
assert_round_trip (const char *name, const char *consumer)
{
  const QemuBitmapName given = { (char *) name, (char *) SET, 0x5f1234, 1 << 22,
                                 (char *) consumer };
  g_autofree char *native = qemu_bitmap_name_format (&given);
  g_autoptr (QemuBitmapName) found = qemu_bitmap_name_parse (native);

  g_assert_nonnull (found);
  g_assert_cmpstr (found->name, ==, name);
  g_assert_cmpstr (found->set_id, ==, SET);
  g_assert_cmpint (found->time_us, ==, 0x5f1234);
  g_assert_cmpuint (found->size, ==, 1 << 22);
  g_assert_cmpstr (found->consumer, ==, consumer);
  g_assert_true (qemu_bitmap_is_of (native, SET));
  g_assert_false (qemu_bitmap_is_of (native, "0123456789abcdee"));
}

static void
test_a_name_says_what_it_was_made_of (void)
{
  assert_round_trip ("mon", NULL);
  assert_round_trip ("mon", "one");
  assert_round_trip ("a.nbdsnap-b", "c-d-e");
  assert_round_trip ("x.nbdsnap-" SET "-1-2", NULL);
}

static void
test_a_name_of_others_is_none_of_ours (void)
{
  static const char *const names[] = {
    "",
    "bitmap0",
    ".nbdsnap-",
    ".nbdsnap-" SET "-1-2",
    "x.nbdsnap-",
    "x.nbdsnap-" SET,
    "x.nbdsnap-" SET "-1",
    "x.nbdsnap-" SET "-1-",
    "x.nbdsnap-" SET "--2",
    "x.nbdsnap-" SET "-1-2-",
    "x.nbdsnap-" SET "-1-2x",
    "x.nbdsnap-" SET "-g-2",
    "x.nbdsnap-" SET "-1-8000000000000000",
    "x.nbdsnap-" SET "-10000000000000000-2",
    "x.nbdsnap-0123456789ABCDEF-1-2",
    "x.nbdsnap-0123456789abcde-1-2",
    ".nbdsnap-" SET "-end",
  };

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *copy = g_strdup (names[i]); /* of its exact size */

    g_assert_null (qemu_bitmap_name_parse (copy));
  }
}

static void
test_the_mark_at_the_end_is_of_its_set (void)
{
  g_autofree char *mark = qemu_end_mark_name (SET);

  g_assert_true (qemu_bitmap_is_of (mark, SET));
  g_assert_false (qemu_bitmap_is_of (mark, "0123456789abcdee"));
}

static void
test_a_part_has_a_name_that_qemu_takes (void)
{
  g_autofree char *tag = qemu_device_tag ("/machine/peripheral/x/virtio");
  g_autofree char *node = qemu_part_name (SET, tag, QEMU_MARKS);
  g_autofree char *set_id = NULL;
  g_autofree char *found = NULL;

  g_assert_cmpuint (strlen (node), <=, 31);
  g_assert_true (qemu_part_parse (node, QEMU_MARKS, &set_id, &found));
  g_assert_cmpstr (set_id, ==, SET);
  g_assert_cmpstr (found, ==, tag);
  g_assert_false (qemu_part_parse (node, QEMU_ACCESS, NULL, NULL));
}

static void
test_a_node_of_others_is_no_part (void)
{
  g_autofree char *node = qemu_part_name (SET, "0a1b2c", QEMU_MARKS);

  for (gsize length = 0; length < strlen (node); length++) {
    g_autofree char *cut = g_strndup (node, length);

    g_assert_false (qemu_part_parse (cut, QEMU_MARKS, NULL, NULL));
  }
  for (gsize at = 0; at < strlen (node); at++) {
    g_autofree char *other = g_strdup (node);

    other[at] = '~';
    g_assert_false (qemu_part_parse (other, QEMU_MARKS, NULL, NULL));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/qemu-name/a-name-says-what-it-was-made-of",
                   test_a_name_says_what_it_was_made_of);
  g_test_add_func ("/qemu-name/a-name-of-others-is-none-of-ours",
                   test_a_name_of_others_is_none_of_ours);
  g_test_add_func ("/qemu-name/the-mark-at-the-end-is-of-its-set",
                   test_the_mark_at_the_end_is_of_its_set);
  g_test_add_func ("/qemu-name/a-part-has-a-name-that-qemu-takes",
                   test_a_part_has_a_name_that_qemu_takes);
  g_test_add_func ("/qemu-name/a-node-of-others-is-no-part",
                   test_a_node_of_others_is_no_part);
  return g_test_run ();
}
