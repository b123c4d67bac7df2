/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/contract-history.h"

#include <string.h>

#define N_SNAPSHOTS 4
#define N_STEPS 6 /* at most, between two snapshots */

typedef struct {
  guint before; /* index of the moment that came next */
  guint64 offset, end;
} Touched;

guint64
history_random (guint64 below)
{
  guint64 high = (guint32) g_test_rand_int ();

  return (high << 31 ^ (guint32) g_test_rand_int ()) % below;
}

static void
touch (History *self, guint64 offset, guint64 end)
{
  Touched touched = { self->moments->len, offset, end };

  g_array_append_val (self->touched, touched);
}

static void
resize (History *self)
{
  const ContractStorage *storage = self->contract->storage;
  guint64 n_units = self->size / storage->unit;
  guint64 size = (n_units / 2 + history_random (n_units) + 1) * storage->unit;

  storage->resize (self->contract->volume, size);
  touch (self, MIN (size, self->size), MAX (size, self->size));
  self->size = size;
}

/* One change; the kinds that a storage lacks become a write. */
static void
step (History *self)
{
  const ContractStorage *storage = self->contract->storage;
  gpointer volume = self->contract->volume;
  guint64 n_units = self->size / storage->unit;
  guint64 first = history_random (n_units);
  guint64 offset = first * storage->unit;
  guint64 length = (history_random (MIN (n_units - first, n_units / 4 + 1)) + 1)
                   * storage->unit;
  guint kind = history_random (8);

  if (kind == 0 && storage->resize != NULL) {
    resize (self);
    return;
  }
  touch (self, offset, offset + length);
  if (kind <= 2 && storage->zero != NULL)
    storage->zero (volume, offset, length);
  else if (kind <= 4 && storage->discard != NULL)
    storage->discard (volume, offset, length);
  else
    storage->write (volume, offset, length, 1 + history_random (255));
}

static void
add_moment (History *self, SnapPoint *point, GBytes *bytes)
{
  Moment *moment = g_new (Moment, 1);

  moment->point = point;
  moment->bytes = bytes;
  g_assert_cmpuint (point->size, ==, g_bytes_get_size (bytes));
  g_ptr_array_add (self->moments, moment);
}

static void
moment_free (Moment *moment)
{
  snap_point_free (moment->point);
  g_bytes_unref (moment->bytes);
  g_free (moment);
}

static void
live_for_a_while (History *self)
{
  for (guint64 n = history_random (N_STEPS); n > 0; n--)
    step (self);
}

/* The live volume, where the storage can look at it. */
static void
add_live (History *self, GBytes *bytes)
{
  GError *error = NULL;
  SnapPoint *live = NULL;

  if (self->volume->driver->special != NULL)
    live =
        self->volume->driver->special (self->volume, SNAP_POINT_LIVE, &error);
  if (live != NULL)
    add_moment (self, live, g_bytes_ref (bytes));
  else
    g_clear_error (&error);
}

History *
history_new (const ContractStorage *storage)
{
  History *self = g_new0 (History, 1);
  g_autoptr (GBytes) now = NULL;

  self->contract = contract_new (storage);
  self->moments = g_ptr_array_new_with_free_func ((GDestroyNotify) moment_free);
  self->touched = g_array_new (FALSE, FALSE, sizeof (Touched));
  self->size = storage->size;
  for (guint i = 0; i < N_SNAPSHOTS; i++) {
    g_autofree char *name = g_strdup_printf ("s%u", i);
    SnapPoint *point;

    live_for_a_while (self);
    point = contract_cut (self->contract, name);
    add_moment (self, point, storage->contents (self->contract->volume));
  }
  live_for_a_while (self);
  now = storage->contents (self->contract->volume);
  self->volume = contract_open (self->contract, SNAP_OPEN_READ);
  add_live (self, now);
  return self;
}

void
history_free (History *self)
{
  snap_volume_unref (self->volume);
  g_ptr_array_unref (self->moments);
  g_array_unref (self->touched);
  contract_free (self->contract);
  g_free (self);
}

Moment *
history_at (const History *self, guint index)
{
  return g_ptr_array_index (self->moments, index);
}

const guint8 *
moment_bytes (const Moment *self)
{
  return g_bytes_get_data (self->bytes, NULL);
}

gboolean
bytes_are_zero (const guint8 *bytes, guint64 length)
{
  return length == 0
         || (*bytes == 0 && memcmp (bytes, bytes + 1, length - 1) == 0);
}

gboolean
history_touched (const History *self, guint older, guint newer, guint64 offset,
                 guint64 end)
{
  for (guint i = 0; i < self->touched->len; i++) {
    const Touched *touched = &g_array_index (self->touched, Touched, i);

    if (touched->before > older && touched->before <= newer
        && touched->offset < end && offset < touched->end)
      return TRUE;
  }
  return FALSE;
}
