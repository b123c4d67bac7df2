/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/ahead.h"

#define KIB 1024
#define MIB (1024 * KIB)
#define SIZE (64 * MIB)
#define MOST (8 * MIB)

/* What a client did, and what of the export was fetched for it. */
typedef struct {
  SnapNbdAhead ahead;
  guint64 fetched, vain;
  guint n_fetches;
  SnapNbdAheadRange last;
} Client;

static void
note_fetch (Client *self, SnapNbdAheadRange range)
{
  self->last = range;
  self->fetched += range.length;
  self->n_fetches += range.length > 0;
}

static void
ask (Client *self, guint64 offset, guint64 length)
{
  SnapNbdAheadRange vain;

  note_fetch (self, snap_nbd_ahead_ask (&self->ahead, offset, length, &vain));
  self->vain += vain.length;
}

static void
serve (Client *self, guint64 offset, guint64 length)
{
  note_fetch (self, snap_nbd_ahead_serve (&self->ahead, offset, length, SIZE));
}

static void
test_scattered_requests_fetch_themselves_alone (void)
{
  static const guint64 offsets[] = { 0, 30 * MIB, 10 * MIB, 50 * MIB, 0 };
  Client client = { 0 };

  for (gsize i = 0; i < G_N_ELEMENTS (offsets); i++) {
    ask (&client, offsets[i], 4 * KIB);
    g_assert_cmpuint (client.last.offset, ==, offsets[i]);
    g_assert_cmpuint (client.last.length, ==, 4 * KIB);
    serve (&client, offsets[i], 4 * KIB);
    g_assert_cmpuint (client.last.length, ==, 0);
  }
  g_assert_cmpuint (client.vain, ==, 0);
  g_assert_cmpuint (snap_nbd_ahead_rest (&client.ahead).length, ==, 0);
}

/* Everything is fetched once, before it is asked for, in few large steps. */
static void
test_a_stream_is_fetched_ahead_once_up_to_the_end (void)
{
  Client client = { 0 };

  for (guint64 at = 0; at < SIZE; at += 64 * KIB) {
    ask (&client, at, 64 * KIB);
    serve (&client, at, 64 * KIB);
    g_assert_cmpuint (client.fetched, >=, at + 64 * KIB);
    g_assert_cmpuint (client.fetched, <=, MIN (SIZE, at + 64 * KIB + MOST));
  }
  g_assert_cmpuint (client.fetched, ==, SIZE);
  g_assert_cmpuint (client.n_fetches, <, SIZE / MIB + 16);
  g_assert_cmpuint (client.vain, ==, 0);
  g_assert_cmpuint (snap_nbd_ahead_rest (&client.ahead).length, ==, 0);
}

static void
test_who_reads_three_neighbours_has_little_more_fetched (void)
{
  Client client = { 0 };

  for (guint64 at = 0; at < 3 * 64 * KIB; at += 64 * KIB) {
    ask (&client, at, 64 * KIB);
    serve (&client, at, 64 * KIB);
  }
  g_assert_cmpuint (client.fetched, <=, 3 * MIB);
}

/* It is asked for already. */
static void
test_who_asks_far_ahead_has_nothing_more_fetched (void)
{
  const guint64 far = 2 * MOST;
  Client client = { 0 };

  for (guint64 at = 0; at < far; at += 256 * KIB)
    ask (&client, at, 256 * KIB);
  for (guint64 at = 0; at + far < SIZE; at += 256 * KIB) {
    serve (&client, at, 256 * KIB);
    g_assert_cmpuint (client.last.length, ==, 0);
    ask (&client, at + far, 256 * KIB);
    g_assert_cmpuint (client.last.length, ==, 256 * KIB);
  }
  g_assert_cmpuint (snap_nbd_ahead_rest (&client.ahead).length, ==, 0);
}

static void
test_requests_in_flight_may_change_places (void)
{
  Client client = { 0 };

  for (guint64 at = 0; at < SIZE; at += 512 * KIB)
    for (guint64 half = 0; half < 2; half++) {
      guint64 offset = at + (at == 0 ? half : 1 - half) * 256 * KIB;

      ask (&client, offset, 256 * KIB);
      serve (&client, offset, 256 * KIB);
    }
  g_assert_cmpuint (client.fetched, ==, SIZE);
  g_assert_cmpuint (client.vain, ==, 0);
}

static void
test_what_was_fetched_in_vain_is_told (void)
{
  Client client = { 0 };
  guint64 in_vain;

  for (guint64 at = 0; at < 4 * MIB; at += MIB) {
    ask (&client, at, MIB);
    serve (&client, at, MIB);
  }
  in_vain = client.fetched - 4 * MIB;
  g_assert_cmpuint (in_vain, >, 0);
  g_assert_cmpuint (snap_nbd_ahead_rest (&client.ahead).offset, ==, 4 * MIB);
  g_assert_cmpuint (snap_nbd_ahead_rest (&client.ahead).length, ==, in_vain);
  ask (&client, 40 * MIB, MIB);
  g_assert_cmpuint (client.vain, ==, in_vain);
  g_assert_cmpuint (snap_nbd_ahead_rest (&client.ahead).length, ==, 0);
}

/* What waits while a client has turned elsewhere belongs to no run. */
static void
test_a_request_of_an_earlier_run_fetches_nothing (void)
{
  Client client = { 0 };

  ask (&client, 0, MIB);
  ask (&client, 40 * MIB, MIB);
  serve (&client, 0, MIB);
  g_assert_cmpuint (client.last.length, ==, 0);
  serve (&client, 40 * MIB, MIB);
  g_assert_cmpuint (client.last.length, ==, 0);
  g_assert_cmpuint (client.fetched, ==, 2 * MIB);
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
  ADD ("who-reads-three-neighbours-has-little-more-fetched",
       test_who_reads_three_neighbours_has_little_more_fetched);
  ADD ("who-asks-far-ahead-has-nothing-more-fetched",
       test_who_asks_far_ahead_has_nothing_more_fetched);
  ADD ("requests-in-flight-may-change-places",
       test_requests_in_flight_may_change_places);
  ADD ("what-was-fetched-in-vain-is-told",
       test_what_was_fetched_in_vain_is_told);
  ADD ("a-request-of-an-earlier-run-fetches-nothing",
       test_a_request_of_an_earlier_run_fetches_nothing);
  return g_test_run ();
}
