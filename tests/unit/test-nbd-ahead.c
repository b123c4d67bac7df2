/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/ahead.h"

#define KIB 1024
#define MIB (1024 * KIB)
#define SIZE (64 * MIB)

static void
test_scattered_requests_fetch_themselves_alone (void)
{
  static const guint64 offsets[] = { 0, 30 * MIB, 10 * MIB, 50 * MIB, 0 };
  SnapNbdAhead ahead = { 0 };

  for (gsize i = 0; i < G_N_ELEMENTS (offsets); i++) {
    SnapNbdAheadRange range =
        snap_nbd_ahead_take (&ahead, offsets[i], 4 * KIB, SIZE);

    g_assert_cmpuint (range.offset, ==, offsets[i]);
    g_assert_cmpuint (range.length, ==, 4 * KIB);
    g_assert_cmpuint (snap_nbd_ahead_rest (&ahead).length, ==, 0);
  }
}

/* Everything is fetched once, before it is asked for, in few large steps. */
static void
test_a_stream_is_fetched_ahead_once_up_to_the_end (void)
{
  SnapNbdAhead ahead = { 0 };
  guint64 fetched = 0;
  guint n_fetches = 0;

  for (guint64 at = 0; at < SIZE; at += 64 * KIB) {
    SnapNbdAheadRange range = snap_nbd_ahead_take (&ahead, at, 64 * KIB, SIZE);

    if (range.length > 0) {
      g_assert_cmpuint (range.offset, ==, fetched);
      fetched += range.length;
      n_fetches++;
    }
    g_assert_cmpuint (fetched, >=, at + 64 * KIB);
    g_assert_cmpuint (fetched, <=, MIN (SIZE, at + 64 * KIB + 2 * MIB));
  }
  g_assert_cmpuint (fetched, ==, SIZE);
  g_assert_cmpuint (n_fetches, <, SIZE / MIB + 4);
  g_assert_cmpuint (snap_nbd_ahead_rest (&ahead).length, ==, 0);
}

static void
test_requests_in_flight_may_change_places (void)
{
  SnapNbdAhead ahead = { 0 };
  guint64 fetched = 0;

  for (guint64 at = 0; at < SIZE; at += 512 * KIB)
    for (guint64 half = 0; half < 2; half++) {
      guint64 offset = at + (at == 0 ? half : 1 - half) * 256 * KIB;

      fetched += snap_nbd_ahead_take (&ahead, offset, 256 * KIB, SIZE).length;
    }
  g_assert_cmpuint (fetched, ==, SIZE);
}

static void
test_what_was_fetched_in_vain_is_told (void)
{
  SnapNbdAhead ahead = { 0 };
  SnapNbdAheadRange rest;

  g_assert_cmpuint (snap_nbd_ahead_rest (&ahead).length, ==, 0);
  snap_nbd_ahead_take (&ahead, 0, MIB, SIZE);
  snap_nbd_ahead_take (&ahead, MIB, MIB, SIZE);
  rest = snap_nbd_ahead_rest (&ahead);
  g_assert_cmpuint (rest.offset, ==, 2 * MIB);
  g_assert_cmpuint (rest.length, ==, 2 * MIB);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/nbd/ahead/" name, func)
  ADD ("scattered-requests-fetch-themselves-alone",
       test_scattered_requests_fetch_themselves_alone);
  ADD ("a-stream-is-fetched-ahead-once-up-to-the-end",
       test_a_stream_is_fetched_ahead_once_up_to_the_end);
  ADD ("requests-in-flight-may-change-places",
       test_requests_in_flight_may_change_places);
  ADD ("what-was-fetched-in-vain-is-told",
       test_what_was_fetched_in_vain_is_told);
  return g_test_run ();
}
