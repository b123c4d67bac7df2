/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the contract suite: a volume under test, and short words for
 * what tests do with it.
 */
#ifndef TESTS_UNIT_CONTRACT_PRIVATE_H
#define TESTS_UNIT_CONTRACT_PRIVATE_H

#include "snapshot-core/service/volume.h"
#include "tests/unit/contract.h"

typedef struct {
  const ContractStorage *storage;
  gpointer volume; /* the storage's */
} Contract;

Contract *contract_new (const ContractStorage *storage);
void contract_free (Contract *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Contract, contract_free)

/* What stands after '#', or NULL. */
const char *contract_part (const Contract *self);

/* Open by the driver. */
SnapVolume *contract_open (const Contract *self, SnapOpenMode mode);

/* All snapshots, checked for what any listing must fulfil. */
GPtrArray *contract_list (const Contract *self);

/* Create one snapshot, with all phases, through a volume that is open. */
void contract_run_creation (SnapVolume *volume, const char *name,
                            const char *set_id);

/* The same through one of its own; the point as it is listed then. */
SnapPoint *contract_cut (const Contract *self, const char *name);

/* The instant, and what of it may wait. */
void contract_cut_all (SnapCut **cuts, gsize n_cuts);

void contract_remove (const Contract *self, const SnapPoint *point);

/* -1 where the storage does not tell. */
int contract_n_traces (const Contract *self);

/* Each adds its tests; the data of a test is the ContractStorage. */
typedef struct {
  const char *name;
  GTestDataFunc run;
} ContractTest;

extern const ContractTest contract_creation_tests[];
extern const ContractTest contract_diff_tests[];
extern const ContractTest contract_image_tests[];
extern const ContractTest contract_path_tests[];

#endif
