/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/contract-private.h"

Contract *
contract_new (const ContractStorage *storage)
{
  Contract *self = g_new0 (Contract, 1);

  self->storage = storage;
  self->volume = storage->setup ();
  return self;
}

void
contract_free (Contract *self)
{
  self->storage->teardown (self->volume);
  g_free (self);
}

const char *
contract_part (const Contract *self)
{
  return self->storage->part != NULL ? self->storage->part (self->volume)
                                     : NULL;
}

SnapVolume *
contract_open (const Contract *self, SnapOpenMode mode)
{
  SnapOpenOptions options = self->storage->options;
  SnapReference reference = {
    .driver = self->storage->driver,
    .location = (char *) self->storage->location (self->volume),
    .part = (char *) contract_part (self),
  };
  GError *error = NULL;
  SnapVolume *volume;

  options.mode = mode;
  if (self->storage->sync != NULL)
    self->storage->sync (self->volume);
  volume = snap_volume_open (NULL, &reference, &options, &error);
  g_assert_no_error (error);
  g_assert_true (volume->driver == self->storage->driver);
  g_assert_nonnull (volume->location);
  g_assert_nonnull (volume->id);
  g_assert_nonnull (volume->label);
  return volume;
}

static void
check_point (const SnapPoint *point)
{
  g_assert_nonnull (point->name);
  g_assert_nonnull (point->id);
  g_assert_cmpstr (point->id, !=, "");
  if (point->ours)
    g_assert_true (point->set_id != NULL);
}

GPtrArray *
contract_list (const Contract *self)
{
  g_autoptr (SnapVolume) volume = contract_open (self, SNAP_OPEN_READ);
  g_autoptr (GHashTable) ids = g_hash_table_new (g_str_hash, g_str_equal);
  GError *error = NULL;
  GPtrArray *points = volume->driver->list (volume, &error);

  g_assert_no_error (error);
  for (guint i = 0; i < points->len; i++) {
    const SnapPoint *point = g_ptr_array_index (points, i);

    check_point (point);
    g_assert_true (g_hash_table_add (ids, point->id));
    if (i > 0)
      g_assert_cmpint (point->time_us, >=,
                       ((SnapPoint *) points->pdata[i - 1])->time_us);
  }
  return points;
}

void
contract_cut_all (SnapCut **cuts, gsize n_cuts)
{
  const SnapDriver *driver = cuts[0]->volume->driver;
  GError *error = NULL;

  driver->cut (cuts, n_cuts, &error);
  g_assert_no_error (error);
  if (SNAP_DRIVER_HAS (driver, settle))
    driver->settle (cuts, n_cuts, &error);
  g_assert_no_error (error);
}

void
contract_run_creation (SnapVolume *volume, const char *name, const char *set_id)
{
  const SnapDriver *driver = volume->driver;
  g_autofree char *record = NULL;
  GError *error = NULL;
  SnapCut *cut = driver->plan (volume, name, set_id, &record, &error);

  g_assert_no_error (error);
  g_assert_nonnull (record);
  g_assert_null (strchr (record, '\n'));
  if (driver->prepare != NULL)
    driver->prepare (cut, &error);
  g_assert_no_error (error);
  contract_cut_all (&cut, 1);
  driver->commit (cut, &error);
  g_assert_no_error (error);
  driver->free_cut (cut);
}

SnapPoint *
contract_cut (const Contract *self, const char *name)
{
  g_autofree char *set_id = snap_set_id_new ();
  g_autoptr (SnapVolume) volume = contract_open (self, SNAP_OPEN_MANAGE);
  g_autoptr (GPtrArray) points = NULL;
  SnapPoint *point;

  contract_run_creation (volume, name, set_id);
  g_clear_pointer (&volume, snap_volume_unref);
  points = contract_list (self);
  g_assert_cmpuint (points->len, >, 0);
  point = g_ptr_array_index (points, points->len - 1);
  g_assert_cmpstr (point->set_id, ==, set_id);
  g_assert_cmpstr (point->name, ==, name);
  g_assert_true (point->ours);
  g_assert_cmpint (point->kind, ==, SNAP_POINT_SNAPSHOT);
  return snap_point_dup (point);
}

void
contract_remove (const Contract *self, const SnapPoint *point)
{
  g_autoptr (SnapVolume) volume = contract_open (self, SNAP_OPEN_MANAGE);
  GError *error = NULL;
  gboolean removed = volume->driver->remove (volume, point, &error);

  g_assert_no_error (error);
  g_assert_true (removed);
}

int
contract_n_traces (const Contract *self)
{
  if (self->storage->n_traces == NULL)
    return -1;
  return (int) self->storage->n_traces (self->volume);
}

static void
add_table (const char *prefix, const ContractTest *tests,
           const ContractStorage *storage)
{
  for (const ContractTest *test = tests; test->name != NULL; test++) {
    g_autofree char *path =
        g_strdup_printf ("/%s/contract/%s", prefix, test->name);

    g_test_add_data_func (path, storage, test->run);
  }
}

void
contract_add_tests (const char *prefix, const ContractStorage *storage)
{
  add_table (prefix, contract_creation_tests, storage);
  add_table (prefix, contract_diff_tests, storage);
  add_table (prefix, contract_image_tests, storage);
  if (SNAP_DRIVER_HAS (storage->driver, plain_path))
    add_table (prefix, contract_path_tests, storage);
}
