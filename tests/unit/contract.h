/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract suite: what every driver must pass, whatever its storage.
 *
 * A test program fills in a ContractStorage, which changes volumes with the
 * storage's own tools, behind the driver's back, and runs the suite on it.
 */
#ifndef TESTS_UNIT_CONTRACT_H
#define TESTS_UNIT_CONTRACT_H

#include "snapshot-core/drivers/driver.h"

/* Of two volumes that setup made, each is independent.  The driver has no
   volume open while one of these is called. */
typedef struct {
  const SnapDriver *driver;
  guint64 size;            /* of a fresh volume, bytes: a multiple of unit */
  guint64 unit;            /* what ranges here are multiples of, bytes */
  guint n_rounds;          /* of random histories */
  SnapOpenOptions options; /* what volumes are opened with, but for the mode */

  /* Make and remove a volume that reads as zeroes. */
  gpointer (*setup) (void);
  void (*teardown) (gpointer volume);
  const char *(*location) (gpointer volume);
  const char *(*part) (gpointer volume); /* optional */

  /* Fill a range with one byte. */
  void (*write) (gpointer volume, guint64 offset, guint64 length, guint8 byte);

  /* Optional.  What is discarded may read as anything. */
  void (*zero) (gpointer volume, guint64 offset, guint64 length);
  void (*discard) (gpointer volume, guint64 offset, guint64 length);
  void (*resize) (gpointer volume, guint64 size);
  void (*sync) (gpointer volume);

  /* All bytes of the volume as it is now. */
  GBytes *(*contents) (gpointer volume);

  /* Optional: a snapshot that nbdsnap did not make. */
  void (*snapshot_by_other) (gpointer volume, const char *name);

  /* Optional: how much there is in the storage that creations could have
     left behind, listed or not. */
  guint (*n_traces) (gpointer volume);

  /* Optional, where a volume that is gone is not a storage that is gone:
     make the storage unreachable, and then what it was. */
  void (*take_away) (gpointer volume);
  void (*bring_back) (gpointer volume);
} ContractStorage;

/* Add the suite's tests under "/PREFIX/contract/…"; @storage stays. */
void contract_add_tests (const char *prefix, const ContractStorage *storage);

#endif
