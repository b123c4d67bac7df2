/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A full driver over memory-store: what the services are tested with, and the
 * model that the contract suite is tested with.
 */
#ifndef TESTS_UNIT_MEMORY_DRIVER_H
#define TESTS_UNIT_MEMORY_DRIVER_H

#include "snapshot-core/drivers/driver.h"

/* "memory:STORE"; cuts all of its volumes at one instant. */
extern const SnapDriver memory_driver;

/* "slow-memory:STORE"; the same stores, one cut after another, and slow. */
extern const SnapDriver memory_driver_slow;

typedef enum {
  MEMORY_OPEN,
  MEMORY_LIST,
  MEMORY_PLAN,
  MEMORY_PREPARE,
  MEMORY_DO_CUT, /* once for each cut of a call */
  MEMORY_SETTLE, /* the same */
  MEMORY_COMMIT,
  MEMORY_ABORT,
  MEMORY_RECOVER,
  MEMORY_REMOVE,
  MEMORY_DIFF,
  MEMORY_IMAGE,
  MEMORY_N_PHASES,
} MemoryPhase;

/* Let the @nth call of a phase from now on (1 the next) fail with IO. */
void memory_driver_fail (MemoryPhase phase, guint nth);

/* Let diffs end with this extent, whatever it breaks; NULL for none. */
void memory_driver_lie (const SnapExtent *extent);

/* Let images say nothing about their holes, which leaves gaps. */
void memory_driver_hide_holes (gboolean hide);

/* Be told before each op: its phase and the store.  NULL for nobody. */
typedef void (*MemoryHook) (MemoryPhase phase, const char *store,
                            gpointer user_data);
void memory_driver_set_hook (MemoryHook hook, gpointer user_data);

/* Images that are open now. */
guint memory_driver_n_images (void);

/* No failures, no lies, no hook, no stores. */
void memory_driver_reset (void);

#endif
