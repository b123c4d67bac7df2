/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the contract suite: a volume with a random past, and the bytes
 * it had at each of its snapshots.
 */
#ifndef TESTS_UNIT_CONTRACT_HISTORY_H
#define TESTS_UNIT_CONTRACT_HISTORY_H

#include "tests/unit/contract-private.h"

/* One point and what a read of it must give. */
typedef struct {
  SnapPoint *point;
  GBytes *bytes;
} Moment;

typedef struct {
  Contract *contract;
  SnapVolume *volume; /* open for reading; nothing changes any more */
  GPtrArray *moments; /* Moment: the snapshots, oldest first, then live */
  GArray *touched;    /* of private ranges, by the moment they came before */
  guint64 size;
} History;

/* Random from g_test_rand_int(), so that --seed repeats it. */
History *history_new (const ContractStorage *storage);
void history_free (History *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (History, history_free)

Moment *history_at (const History *self, guint index);

const guint8 *moment_bytes (const Moment *self);
gboolean bytes_are_zero (const guint8 *bytes, guint64 length);

/* Whether anything wrote to [offset, end) between two moments. */
gboolean history_touched (const History *self, guint older, guint newer,
                          guint64 offset, guint64 end);

/* A random number in [0, below), also above 2^31. */
guint64 history_random (guint64 below);

/* In contract-diff.c: what a diff between two moments must fulfil. */
void contract_check_pair (History *history, SnapState *state, guint from,
                          guint to);

#endif
