/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules that hold for every diff, on a made-up driver.
 */
#include "config.h"

#include "snapshot-core/service/diff-stream.h"

#include <string.h>

typedef struct {
  SnapDiffInfo info;
  SnapDiffStream stream;
  SnapExtents *out;
} Rules;

static void
rules_init (Rules *self, guint64 from_size, guint64 size)
{
  *self = (Rules){ .info = { 10, SNAP_PROOF_EXACT, "made-up" },
                   .out = snap_extents_new () };
  self->stream.emit = snap_extents_append_func;
  self->stream.user_data = self->out;
  self->stream.from_size = from_size;
  self->stream.size = size;
  self->stream.info = &self->info;
  self->stream.source = "made-up";
}

static gboolean
push (Rules *self, guint64 offset, guint64 length, guint32 flags,
      GError **error)
{
  const SnapExtent extent = { offset, length, flags };

  return snap_diff_stream_push (&extent, &self->stream, error);
}

static void
push_dirty (Rules *self, guint64 offset, guint64 length)
{
  g_assert_true (push (self, offset, length, SNAP_EXTENT_DIRTY, NULL));
}

/* "offset+length" of each extent, "z" where it is zero. */
static void
rules_end (Rules *self, const char *expected)
{
  g_autoptr (GString) text = g_string_new (NULL);

  g_assert_true (snap_diff_stream_finish (&self->stream, NULL));
  for (gsize i = 0; i < snap_extents_n (self->out); i++) {
    const SnapExtent *extent = snap_extents_at (self->out, i);

    g_string_append_printf (text,
                            "%s%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT "%s",
                            i > 0 ? " " : "", extent->offset, extent->length,
                            (extent->flags & SNAP_EXTENT_ZERO) != 0 ? "z" : "");
  }
  g_assert_cmpstr (text->str, ==, expected);
  g_assert_cmpuint (self->stream.n_extents, ==, snap_extents_n (self->out));
  g_assert_cmpuint (self->stream.dirty_bytes, ==,
                    snap_extents_bytes (self->out, SNAP_EXTENT_DIRTY));
  snap_extents_unref (self->out);
}

static void
test_coalesces_and_keeps_zero (void)
{
  Rules rules;

  rules_init (&rules, 100, 100);
  push_dirty (&rules, 10, 10);
  push_dirty (&rules, 20, 5);
  push_dirty (&rules, 30, 0);
  push_dirty (&rules, 40, 10);
  g_assert_true (
      push (&rules, 50, 10, SNAP_EXTENT_DIRTY | SNAP_EXTENT_ZERO, NULL));
  rules_end (&rules, "10+15 40+10 50+10z");
}

static void
test_hands_on_only_what_a_diff_means (void)
{
  Rules rules;

  rules_init (&rules, 100, 100);
  g_assert_true (
      push (&rules, 0, 10, SNAP_EXTENT_DIRTY | SNAP_EXTENT_HOLE, NULL));
  push_dirty (&rules, 10, 10);
  rules_end (&rules, "0+20");
}

static void
test_clips_to_the_newer_size (void)
{
  Rules rules;

  rules_init (&rules, 200, 35);
  push_dirty (&rules, 30, 10);
  push_dirty (&rules, 40, 10);
  rules_end (&rules, "30+5");
}

static void
test_a_grown_tail_is_dirty (void)
{
  Rules silent, spoken;

  rules_init (&silent, 25, 95);
  rules_end (&silent, "20+75");
  rules_init (&spoken, 25, 95);
  push_dirty (&spoken, 0, 10);
  g_assert_true (
      push (&spoken, 30, 20, SNAP_EXTENT_DIRTY | SNAP_EXTENT_ZERO, NULL));
  rules_end (&spoken, "0+10 20+10 30+20z 50+45");
}

static void
test_a_tail_after_an_extent_across_it (void)
{
  Rules rules;

  rules_init (&rules, 20, 100);
  push_dirty (&rules, 0, 50);
  rules_end (&rules, "0+100");
}

static void
test_nothing_is_left_of_nothing (void)
{
  Rules shrunk, same;

  rules_init (&shrunk, 100, 0);
  push_dirty (&shrunk, 0, 10);
  rules_end (&shrunk, "");
  rules_init (&same, 100, 100);
  rules_end (&same, "");
}

static void
assert_bug (Rules *rules, guint64 offset, guint64 length, guint32 flags)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (push (rules, offset, length, flags, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_FAILED);
  g_assert_nonnull (strstr (error->message, "bug"));
}

static void
test_a_driver_that_breaks_the_rules_is_not_believed (void)
{
  Rules rules;

  rules_init (&rules, 100, 100);
  push_dirty (&rules, 20, 10);
  assert_bug (&rules, 25, 10, SNAP_EXTENT_DIRTY);
  assert_bug (&rules, 0, 10, SNAP_EXTENT_DIRTY);
  assert_bug (&rules, 40, 10, SNAP_EXTENT_ZERO);
  assert_bug (&rules, 40, G_MAXUINT64, SNAP_EXTENT_DIRTY);
  rules.info.granularity = 0;
  assert_bug (&rules, 40, 10, SNAP_EXTENT_DIRTY);
  g_assert_false (snap_diff_stream_finish (&rules.stream, NULL));
  snap_extents_unref (rules.out);
}

#define ADD(name, test) g_test_add_func ("/diff/stream/" name, test)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("coalesces-and-keeps-zero", test_coalesces_and_keeps_zero);
  ADD ("hands-on-only-what-a-diff-means", test_hands_on_only_what_a_diff_means);
  ADD ("clips-to-the-newer-size", test_clips_to_the_newer_size);
  ADD ("a-grown-tail-is-dirty", test_a_grown_tail_is_dirty);
  ADD ("a-tail-after-an-extent-across-it",
       test_a_tail_after_an_extent_across_it);
  ADD ("nothing-is-left-of-nothing", test_nothing_is_left_of_nothing);
  ADD ("a-driver-that-breaks-them-is-not-believed",
       test_a_driver_that_breaks_the_rules_is_not_believed);
  return g_test_run ();
}
