/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/memory-driver.h"

#include <gmodule.h>
#include <string.h>

#include "tests/unit/memory-data.h"

typedef struct {
  SnapCut parent;
  char *name;
  char *set_id;
} MemoryCut;

/* ---- what tests turn ---- */

static guint countdown[MEMORY_N_PHASES];
static MemoryHook hook;
static gpointer hook_data;

void
memory_driver_fail (MemoryPhase phase, guint nth)
{
  countdown[phase] = nth;
}

void
memory_driver_set_hook (MemoryHook new_hook, gpointer user_data)
{
  hook = new_hook;
  hook_data = user_data;
}

void
memory_driver_reset (void)
{
  memset (countdown, 0, sizeof countdown);
  memory_driver_lie (NULL);
  memory_driver_hide_holes (FALSE);
  memory_driver_set_hook (NULL, NULL);
  memory_world_clear ();
}

gboolean
memory_enter (MemoryPhase phase, const char *store, GError **error)
{
  if (hook != NULL)
    hook (phase, store, hook_data);
  if (countdown[phase] == 0 || --countdown[phase] > 0)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_IO, "%s: told to fail in phase %d",
                         store, phase);
}

/* ---- volumes and points ---- */

MemoryStore *
memory_lock_store (const char *name, GError **error)
{
  MemoryStore *store;

  memory_lock ();
  store = memory_store_lookup (name);
  if (store != NULL)
    return store;
  memory_unlock ();
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no such store", name);
  return NULL;
}

static int
memory_probe (const char *location)
{
  gboolean known;

  memory_lock ();
  known = memory_store_lookup (location) != NULL;
  memory_unlock ();
  return known ? 50 : 0;
}

static SnapVolume *
open_as (const SnapDriver *driver, const char *location, const char *part,
         GError **error)
{
  SnapVolume *volume;

  if (!memory_enter (MEMORY_OPEN, location, error)
      || memory_lock_store (location, error) == NULL)
    return NULL;
  memory_unlock ();
  volume = g_new0 (SnapVolume, 1);
  volume->driver = driver;
  volume->location = g_strdup (location);
  volume->part = g_strdup (part);
  volume->id = g_strdup (location);
  volume->label = g_path_get_basename (location);
  return volume;
}

static SnapVolume *
memory_open (const char *location, const char *part,
             const SnapOpenOptions *options, GError **error)
{
  return open_as (&memory_driver, location, part, error);
}

static SnapVolume *
slow_open (const char *location, const char *part,
           const SnapOpenOptions *options, GError **error)
{
  return open_as (&memory_driver_slow, location, part, error);
}

static void
memory_close (SnapVolume *volume)
{
  g_free (volume->location);
  g_free (volume->part);
  g_free (volume->id);
  g_free (volume->label);
  g_free (volume);
}

static SnapPoint *
make_point (const MemorySnap *snap)
{
  SnapPoint *point = snap_point_new (SNAP_POINT_SNAPSHOT, snap->name);

  point->id = g_strdup_printf ("%" G_GUINT64_FORMAT "/m", snap->id);
  point->set_id = g_strdup (snap->set_id);
  point->ours = snap->set_id != NULL;
  point->size = snap->layer->size;
  point->time_us = (gint64) snap->id * G_USEC_PER_SEC;
  return point;
}

static GPtrArray *
memory_list (SnapVolume *volume, GError **error)
{
  GPtrArray *points;
  MemoryStore *store;

  if (!memory_enter (MEMORY_LIST, volume->location, error))
    return NULL;
  store = memory_lock_store (volume->location, error);
  if (store == NULL)
    return NULL;
  points = g_ptr_array_new_with_free_func ((GDestroyNotify) snap_point_free);
  for (guint i = 0; i < store->snaps->len; i++) {
    const MemorySnap *snap = g_ptr_array_index (store->snaps, i);

    if (snap->state != MEMORY_PREPARED)
      g_ptr_array_add (points, make_point (snap));
  }
  memory_unlock ();
  return points;
}

static SnapPoint *
memory_special (SnapVolume *volume, SnapPointKind kind, GError **error)
{
  MemoryStore *store = memory_lock_store (volume->location, error);
  const char *name = kind == SNAP_POINT_LIVE ? "live" : "backing";
  const MemoryLayer *layer;
  SnapPoint *point = NULL;

  if (store == NULL)
    return NULL;
  layer = kind == SNAP_POINT_LIVE ? store->live : store->backing;
  if (layer != NULL) {
    point = snap_point_new (kind, name);
    point->id = g_strdup (name);
    point->size = layer->size;
  }
  memory_unlock ();
  if (point == NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: has no backing",
                    volume->location);
  return point;
}

MemorySnap *
memory_lock_snap (SnapVolume *volume, const SnapPoint *point,
                  MemoryStore **store, GError **error)
{
  *store = memory_lock_store (volume->location, error);
  for (guint i = 0; *store != NULL && i < (*store)->snaps->len; i++) {
    MemorySnap *snap = g_ptr_array_index ((*store)->snaps, i);

    if (snap->id == g_ascii_strtoull (point->id, NULL, 10))
      return snap;
  }
  if (*store != NULL) {
    memory_unlock ();
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s@%s: is gone",
                    volume->location, point->name);
  }
  return NULL;
}

static gboolean
memory_remove (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  MemoryStore *store;
  MemorySnap *snap;
  gboolean ours;

  if (!memory_enter (MEMORY_REMOVE, volume->location, error))
    return FALSE;
  snap = memory_lock_snap (volume, point, &store, error);
  if (snap == NULL)
    return FALSE;
  ours = snap->set_id != NULL;
  if (ours)
    memory_store_drop (store, snap);
  memory_unlock ();
  return ours
         || snap_error_set (error, SNAP_ERROR_UNSUPPORTED, "%s@%s: is not ours",
                            volume->location, point->name);
}

/* ---- creation ---- */

static SnapCut *
memory_plan (SnapVolume *volume, const char *name, const char *set_id,
             char **record, GError **error)
{
  MemoryCut *cut;

  if (!memory_enter (MEMORY_PLAN, volume->location, error)
      || memory_lock_store (volume->location, error) == NULL)
    return NULL;
  memory_unlock ();
  cut = g_new0 (MemoryCut, 1);
  cut->parent.volume = volume;
  cut->parent.expected_ms = volume->driver == &memory_driver ? 1 : 1000;
  cut->name = g_strdup (name);
  cut->set_id = g_strdup (set_id);
  *record = g_strdup_printf ("%s %s", set_id, volume->location);
  return &cut->parent;
}

static gboolean
memory_prepare (SnapCut *parent, GError **error)
{
  const MemoryCut *cut = (MemoryCut *) parent;
  MemoryStore *store;

  if (!memory_enter (MEMORY_PREPARE, parent->volume->location, error))
    return FALSE;
  store = memory_lock_store (parent->volume->location, error);
  if (store == NULL)
    return FALSE;
  memory_store_add (store, cut->name, cut->set_id);
  memory_unlock ();
  return TRUE;
}

/* Drop or advance what a set has in a store; nothing is fine too. */
static void
finish (MemoryStore *store, const char *set_id, SnapRecover action)
{
  MemorySnap *snap = memory_store_find_set (store, set_id);

  if (snap != NULL && action == SNAP_RECOVER_COMMIT)
    snap->state = MEMORY_COMMITTED;
  else if (snap != NULL)
    memory_store_drop (store, snap);
}

static gboolean
cut_one (SnapCut *parent, GError **error)
{
  const MemoryCut *cut = (MemoryCut *) parent;
  MemoryStore *store;
  MemorySnap *snap;

  if (!memory_enter (MEMORY_DO_CUT, parent->volume->location, error))
    return FALSE;
  store = memory_lock_store (parent->volume->location, error);
  if (store == NULL)
    return FALSE;
  snap = memory_store_find_set (store, cut->set_id);
  snap->layer = memory_layer_snapshot (store->live);
  snap->state = MEMORY_CUT;
  memory_unlock ();
  return TRUE;
}

static gboolean
memory_cut (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (!cut_one (cuts[i], error))
      return FALSE;
  return TRUE;
}

static gboolean
memory_settle (SnapCut **cuts, gsize n_cuts, GError **error)
{
  for (gsize i = 0; i < n_cuts; i++)
    if (!memory_enter (MEMORY_SETTLE, cuts[i]->volume->location, error))
      return FALSE;
  return TRUE;
}

static gboolean
end_cut (SnapCut *parent, SnapRecover action, GError **error)
{
  const MemoryCut *cut = (MemoryCut *) parent;
  MemoryStore *store = memory_lock_store (parent->volume->location, error);

  if (store == NULL)
    return FALSE;
  finish (store, cut->set_id, action);
  memory_unlock ();
  return TRUE;
}

static gboolean
memory_commit (SnapCut *cut, GError **error)
{
  return memory_enter (MEMORY_COMMIT, cut->volume->location, error)
         && end_cut (cut, SNAP_RECOVER_COMMIT, error);
}

static gboolean
memory_abort (SnapCut *cut, GError **error)
{
  return memory_enter (MEMORY_ABORT, cut->volume->location, error)
         && end_cut (cut, SNAP_RECOVER_ABORT, error);
}

static void
memory_free_cut (SnapCut *parent)
{
  MemoryCut *cut = (MemoryCut *) parent;

  g_free (cut->name);
  g_free (cut->set_id);
  g_free (cut);
}

static gboolean
memory_cuts_at_once (SnapCut **cuts, gsize n_cuts)
{
  return TRUE;
}

static gboolean
memory_recover (const char *record, SnapRecover action, GError **error)
{
  g_auto (GStrv) words = g_strsplit (record, " ", 2);
  MemoryStore *store;

  if (g_strv_length (words) != 2)
    return snap_error_set (error, SNAP_ERROR_CORRUPT, "record: %s", record);
  if (!memory_enter (MEMORY_RECOVER, words[1], error))
    return FALSE;
  store = memory_lock_store (words[1], error);
  if (store == NULL)
    return FALSE;
  finish (store, words[0], action);
  memory_unlock ();
  return TRUE;
}

#define MEMORY_OPS                                                             \
  SNAP_DRIVER_INIT,                                                            \
      .probe = memory_probe, .close = memory_close, .list = memory_list,       \
      .special = memory_special, .remove = memory_remove, .plan = memory_plan, \
      .prepare = memory_prepare, .cut = memory_cut, .commit = memory_commit,   \
      .abort = memory_abort, .free_cut = memory_free_cut,                      \
      .recover = memory_recover, .comparable = memory_comparable,              \
      .diff = memory_diff, .open_image = memory_open_image,                    \
      .settle = memory_settle

const SnapDriver memory_driver = {
  MEMORY_OPS,
  .name = "memory",
  .description = "byte arrays of the test suite",
  .open = memory_open,
  .cuts_at_once = memory_cuts_at_once,
};

const SnapDriver memory_driver_slow = {
  MEMORY_OPS,
  .name = "slow-memory",
  .description = "byte arrays that take their time",
  .open = slow_open,
};

SNAP_DRIVER_EXPORT (memory_driver)
