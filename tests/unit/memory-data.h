/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the memory driver: its diffs and images, and what they share with
 * the rest of it.
 */
#ifndef TESTS_UNIT_MEMORY_DATA_H
#define TESTS_UNIT_MEMORY_DATA_H

#include "tests/unit/memory-driver.h"
#include "tests/unit/memory-store.h"

/* Every op starts here: the hook, and the failures that tests ask for. */
gboolean memory_enter (MemoryPhase phase, const char *store, GError **error);

/* The store with the world locked, or NULL with it not. */
MemoryStore *memory_lock_store (const char *name, GError **error);

/* The same for the snap that a point is. */
MemorySnap *memory_lock_snap (SnapVolume *volume, const SnapPoint *point,
                              MemoryStore **store, GError **error);

gboolean memory_comparable (const SnapDiffRequest *request, GError **error);
gboolean memory_diff (const SnapDiffRequest *request, SnapDiffInfo *info,
                      SnapExtentFunc emit, gpointer user_data, GError **error);
SnapImage *memory_open_image (SnapVolume *volume, const SnapPoint *point,
                              GError **error);

#endif
