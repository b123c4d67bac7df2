/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/runs.h"

#include <string.h>

#define BLOCK 4
#define SPAN 64

/* What is said, a character a byte: '0' + flags. */
static char *
spell (const SnapNbdRuns *runs)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < runs->extents->len; i++) {
    const SnapNbdExtent *extent =
        &g_array_index (runs->extents, SnapNbdExtent, i);

    g_assert_cmpuint (extent->length, >, 0);
    for (guint64 j = 0; j < extent->length; j++)
      g_string_append_c (text, '0' + extent->flags);
  }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static void
assert_merged (const SnapNbdRuns *runs)
{
  for (guint i = 1; i < runs->extents->len; i++)
    g_assert_cmpuint (g_array_index (runs->extents, SnapNbdExtent, i - 1).flags,
                      !=,
                      g_array_index (runs->extents, SnapNbdExtent, i).flags);
}

/* What should be said: of each block, the flags that all of its bytes have. */
static char *
model (const guint8 *flags, guint64 offset, guint64 end, guint32 inverted)
{
  char *text = g_malloc0 (end - offset + 1);

  for (guint64 at = offset; at < end; at++) {
    guint64 block = at - at % BLOCK;
    guint32 common = ~0u;

    for (guint64 i = block; i < block + BLOCK; i++)
      common &= flags[i];
    text[at - offset] = '0' + (common ^ inverted);
  }
  return text;
}

static void
say_all (SnapNbdRuns *runs, const guint8 *flags)
{
  guint64 limit = snap_nbd_runs_limit (runs);

  for (guint64 at = runs->at; at < limit && snap_nbd_runs_want_more (runs);) {
    guint64 next = at + 1;

    while (next < limit && flags[next] == flags[at] && g_random_boolean ())
      next++;
    snap_nbd_runs_add (runs, next, flags[at]);
    at = next;
  }
}

static void
try_random (gsize max_extents)
{
  guint64 offset = g_random_int_range (0, SPAN - 1);
  guint64 end = g_random_int_range (offset + 1, SPAN + 1);
  guint32 inverted = g_random_int_range (0, 2);
  guint8 flags[SPAN];
  g_autofree char *expected = NULL;
  g_autofree char *said = NULL;
  SnapNbdRuns runs;
  guint64 covered;

  for (guint i = 0; i < SPAN; i++)
    flags[i] = i > 0 && g_random_int_range (0, 6) > 0
                   ? flags[i - 1]
                   : g_random_int_range (0, 4);
  expected = model (flags, offset, end, inverted);
  snap_nbd_runs_init (&runs, offset, end, BLOCK, max_extents);
  runs.inverted = inverted;
  say_all (&runs, flags);
  covered = snap_nbd_runs_finish (&runs);
  said = spell (&runs);
  assert_merged (&runs);
  g_assert_cmpuint (runs.extents->len, <=, max_extents);
  g_assert_cmpuint (covered, ==, offset + strlen (said));
  g_assert_true (*said != '\0' && g_str_has_prefix (expected, said));
  if (runs.extents->len < max_extents)
    g_assert_cmpstr (said, ==, expected);
  snap_nbd_runs_clear (&runs);
}

static void
test_a_block_has_the_flags_of_all_its_bytes (void)
{
  for (guint i = 0; i < 20000; i++)
    try_random (SPAN);
}

static void
test_no_more_is_said_than_is_wanted (void)
{
  for (guint i = 0; i < 20000; i++)
    try_random (1 + i % 3);
}

static void
test_trimming_cuts_at_any_byte (void)
{
  for (guint64 end = 1; end <= 24; end++) {
    g_autofree char *said = NULL;
    SnapNbdRuns runs;

    snap_nbd_runs_init (&runs, 0, 24, BLOCK, SPAN);
    snap_nbd_runs_add (&runs, 8, 1);
    snap_nbd_runs_add (&runs, 12, 0);
    snap_nbd_runs_add (&runs, 24, 3);
    snap_nbd_runs_finish (&runs);
    snap_nbd_runs_trim (&runs, end);
    said = spell (&runs);
    g_assert_cmpuint (strlen (said), ==, end);
    g_assert_true (g_str_has_prefix ("111111110000333333333333", said));
    snap_nbd_runs_clear (&runs);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/nbd/runs/" name, func)
  ADD ("a-block-has-the-flags-of-all-its-bytes",
       test_a_block_has_the_flags_of_all_its_bytes);
  ADD ("no-more-is-said-than-is-wanted", test_no_more_is_said_than_is_wanted);
  ADD ("trimming-cuts-at-any-byte", test_trimming_cuts_at_any_byte);
  return g_test_run ();
}
