/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract of creation and deletion: complete or absent, only ours, and
 * never a word twice for two points.
 */
#include "config.h"

#include "tests/unit/contract-private.h"

/* How far a creation goes before it is aborted or dies. */
typedef enum {
  STAGE_PLANNED,
  STAGE_PREPARED,
  STAGE_CUT,
} Stage;

typedef struct {
  SnapVolume *volume;
  SnapCut *cut;
  char *record;
} HalfMade;

static HalfMade
half_make (const Contract *self, Stage stage)
{
  g_autofree char *set_id = snap_set_id_new ();
  HalfMade made = { .volume = contract_open (self, SNAP_OPEN_MANAGE) };
  const SnapDriver *driver = made.volume->driver;
  GError *error = NULL;

  made.cut = driver->plan (made.volume, "half", set_id, &made.record, &error);
  g_assert_no_error (error);
  if (stage >= STAGE_PREPARED && driver->prepare != NULL)
    driver->prepare (made.cut, &error);
  g_assert_no_error (error);
  if (stage >= STAGE_CUT)
    contract_cut_all (&made.cut, 1);
  return made;
}

/* The end of the maker, at whatever stage. */
static void
half_made_clear (HalfMade *made)
{
  made->volume->driver->free_cut (made->cut);
  snap_volume_unref (made->volume);
  g_clear_pointer (&made->record, g_free);
}

static guint
n_listed (const Contract *self)
{
  g_autoptr (GPtrArray) points = contract_list (self);

  return points->len;
}

static void
recover_twice (const Contract *self, const char *record, SnapRecover action)
{
  for (int i = 0; i < 2; i++) {
    GError *error = NULL;
    gboolean done = self->storage->driver->recover (record, action, &error);

    g_assert_no_error (error);
    g_assert_true (done);
  }
}

/* ---- tests ---- */

static void
test_lists_oldest_first (gconstpointer storage)
{
  static const char *const names[] = { "zulu", "alpha", "mike" };
  g_autoptr (Contract) self = contract_new (storage);
  g_autoptr (GPtrArray) points = NULL;

  g_assert_cmpuint (n_listed (self), ==, 0);
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    snap_point_free (contract_cut (self, names[i]));
  points = contract_list (self);
  g_assert_cmpuint (points->len, ==, G_N_ELEMENTS (names));
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    const SnapPoint *point = g_ptr_array_index (points, i);

    g_assert_cmpstr (point->name, ==, names[i]);
    g_assert_cmpuint (point->size, ==, self->storage->size);
  }
}

static void
test_never_reuses_an_identity (gconstpointer storage)
{
  g_autoptr (Contract) self = contract_new (storage);
  g_autoptr (GHashTable) ids =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (int i = 0; i < 4; i++) {
    g_autoptr (SnapPoint) point = contract_cut (self, "same");

    g_assert_true (g_hash_table_add (ids, g_strdup (point->id)));
    contract_remove (self, point);
  }
}

static void
test_deletes_without_a_trace (gconstpointer storage)
{
  g_autoptr (Contract) self = contract_new (storage);
  int before = contract_n_traces (self);
  g_autoptr (SnapPoint) point = NULL;
  g_autoptr (GBytes) then = NULL;
  g_autoptr (GBytes) now = NULL;

  self->storage->write (self->volume, 0, self->storage->unit, 'x');
  then = self->storage->contents (self->volume);
  point = contract_cut (self, "gone");
  g_assert_cmpuint (n_listed (self), ==, 1);
  contract_remove (self, point);
  g_assert_cmpuint (n_listed (self), ==, 0);
  g_assert_cmpint (contract_n_traces (self), ==, before);
  now = self->storage->contents (self->volume);
  g_assert_true (g_bytes_equal (then, now));
}

static void
test_plan_changes_nothing (gconstpointer storage)
{
  g_autoptr (Contract) self = contract_new (storage);
  int before = contract_n_traces (self);
  HalfMade made = half_make (self, STAGE_PLANNED);

  half_made_clear (&made);
  g_assert_cmpuint (n_listed (self), ==, 0);
  g_assert_cmpint (contract_n_traces (self), ==, before);
}

static void
test_abort_leaves_nothing (gconstpointer storage)
{
  for (Stage stage = STAGE_PLANNED; stage <= STAGE_CUT; stage++) {
    g_autoptr (Contract) self = contract_new (storage);
    int before = contract_n_traces (self);
    HalfMade made = half_make (self, stage);
    GError *error = NULL;

    g_assert_true (made.volume->driver->abort (made.cut, &error));
    g_assert_no_error (error);
    half_made_clear (&made);
    g_assert_cmpuint (n_listed (self), ==, 0);
    g_assert_cmpint (contract_n_traces (self), ==, before);
  }
}

static void
test_recovery_undoes_any_stage_twice (gconstpointer storage)
{
  for (Stage stage = STAGE_PLANNED; stage <= STAGE_CUT; stage++) {
    g_autoptr (Contract) self = contract_new (storage);
    g_autoptr (SnapPoint) kept = contract_cut (self, "kept");
    int before = contract_n_traces (self);
    HalfMade made = half_make (self, stage);
    g_autofree char *record = g_strdup (made.record);

    half_made_clear (&made);
    recover_twice (self, record, SNAP_RECOVER_ABORT);
    g_assert_cmpuint (n_listed (self), ==, 1);
    g_assert_cmpint (contract_n_traces (self), ==, before);
  }
}

static void
test_recovery_completes_a_cut_twice (gconstpointer storage)
{
  g_autoptr (Contract) self = contract_new (storage);
  HalfMade made = half_make (self, STAGE_CUT);
  g_autofree char *record = g_strdup (made.record);
  g_autoptr (GPtrArray) points = NULL;

  half_made_clear (&made);
  recover_twice (self, record, SNAP_RECOVER_COMMIT);
  points = contract_list (self);
  g_assert_cmpuint (points->len, ==, 1);
  g_assert_cmpstr (((SnapPoint *) points->pdata[0])->name, ==, "half");
  contract_remove (self, points->pdata[0]);
}

static void
assert_recovery_waits (const SnapDriver *driver, const char *record)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (driver->recover (record, SNAP_RECOVER_ABORT, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
}

/* A storage that is not there may come back: what was begun on it is not
   forgotten. */
static void
test_recovery_waits_for_the_volume (gconstpointer storage)
{
  const ContractStorage *of = storage;
  g_autoptr (Contract) self = contract_new (storage);
  HalfMade made = half_make (self, STAGE_PLANNED);
  g_autofree char *record = g_strdup (made.record);

  half_made_clear (&made);
  if (of->take_away == NULL) {
    g_clear_pointer (&self, contract_free);
    assert_recovery_waits (of->driver, record);
    return;
  }
  of->take_away (self->volume);
  assert_recovery_waits (of->driver, record);
  of->bring_back (self->volume);
  recover_twice (self, record, SNAP_RECOVER_ABORT);
}

static void
assert_not_removed (const Contract *self, const SnapPoint *point,
                    SnapError code)
{
  g_autoptr (SnapVolume) volume = contract_open (self, SNAP_OPEN_MANAGE);
  g_autoptr (GError) error = NULL;

  g_assert_false (volume->driver->remove (volume, point, &error));
  g_assert_error (error, SNAP_ERROR, (int) code);
}

static void
test_refuses_to_delete_what_is_gone (gconstpointer storage)
{
  g_autoptr (Contract) self = contract_new (storage);
  g_autoptr (SnapPoint) old = contract_cut (self, "twice");
  g_autoptr (SnapPoint) new = NULL;

  contract_remove (self, old);
  assert_not_removed (self, old, SNAP_ERROR_NOT_FOUND);
  new = contract_cut (self, "twice");
  assert_not_removed (self, old, SNAP_ERROR_NOT_FOUND);
  g_assert_cmpuint (n_listed (self), ==, 1);
}

static void
test_refuses_to_delete_what_is_not_ours (gconstpointer storage)
{
  g_autoptr (Contract) self = contract_new (storage);
  g_autoptr (GPtrArray) points = NULL;

  if (self->storage->snapshot_by_other == NULL) {
    g_test_skip ("this storage has no snapshots by others");
    return;
  }
  self->storage->snapshot_by_other (self->volume, "theirs");
  points = contract_list (self);
  g_assert_cmpuint (points->len, ==, 1);
  g_assert_false (((SnapPoint *) points->pdata[0])->ours);
  assert_not_removed (self, points->pdata[0], SNAP_ERROR_UNSUPPORTED);
  g_assert_cmpuint (n_listed (self), ==, 1);
}

static SnapCut *
plan_one (SnapVolume *volume, const char *set_id)
{
  g_autofree char *record = NULL;
  GError *error = NULL;
  SnapCut *cut = volume->driver->plan (volume, "both", set_id, &record, &error);

  g_assert_no_error (error);
  if (volume->driver->prepare != NULL)
    volume->driver->prepare (cut, &error);
  g_assert_no_error (error);
  return cut;
}

static void
test_cuts_two_volumes_in_one_call (gconstpointer storage)
{
  const SnapDriver *driver = ((const ContractStorage *) storage)->driver;
  g_autofree char *set_id = snap_set_id_new ();
  g_autoptr (Contract) first = contract_new (storage);
  g_autoptr (Contract) second = contract_new (storage);
  SnapVolume *volumes[] = { contract_open (first, SNAP_OPEN_MANAGE),
                            contract_open (second, SNAP_OPEN_MANAGE) };
  SnapCut *cuts[] = { plan_one (volumes[0], set_id),
                      plan_one (volumes[1], set_id) };
  GError *error = NULL;

  contract_cut_all (cuts, 2);
  for (int i = 0; i < 2; i++) {
    g_assert_true (driver->commit (cuts[i], &error));
    driver->free_cut (cuts[i]);
    snap_volume_unref (volumes[i]);
  }
  g_assert_cmpuint (n_listed (first), ==, 1);
  g_assert_cmpuint (n_listed (second), ==, 1);
}

static guint
n_listed_by (SnapVolume *volume)
{
  GError *error = NULL;
  g_autoptr (GPtrArray) points = volume->driver->list (volume, &error);

  g_assert_no_error (error);
  return points->len;
}

/* What was seen before is no answer to what is asked after. */
static void
test_knows_what_is_new_after_it_looked_away (gconstpointer storage)
{
  g_autoptr (Contract) self = contract_new (storage);
  g_autofree char *set_id = snap_set_id_new ();
  SnapVolume *volume = contract_open (self, SNAP_OPEN_MANAGE);
  GError *error = NULL;

  for (guint i = 0; i < 2; i++) {
    g_assert_true (snap_volumes_look (&volume, 1, &error));
    g_assert_no_error (error);
    g_assert_cmpuint (n_listed_by (volume), ==, i);
    snap_volumes_look_away (&volume, 1);
    if (i == 0)
      contract_run_creation (volume, "new", set_id);
    g_assert_cmpuint (n_listed_by (volume), ==, 1);
  }
  snap_volume_unref (volume);
}

static void
test_says_that_a_volume_is_missing (gconstpointer storage)
{
  const ContractStorage *of = storage;
  const SnapOpenOptions options = { .mode = SNAP_OPEN_READ };
  Contract *self = contract_new (storage);
  g_autofree char *location = g_strdup (of->location (self->volume));
  g_autofree char *part = g_strdup (contract_part (self));
  g_autoptr (GError) error = NULL;

  contract_free (self);
  g_assert_cmpint (of->driver->probe (location), <=, 100);
  g_assert_null (of->driver->open (location, part, &options, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_NOT_FOUND);
}

const ContractTest contract_creation_tests[] = {
  { "lists-oldest-first", test_lists_oldest_first },
  { "never-reuses-an-identity", test_never_reuses_an_identity },
  { "deletes-without-a-trace", test_deletes_without_a_trace },
  { "plan-changes-nothing", test_plan_changes_nothing },
  { "abort-leaves-nothing", test_abort_leaves_nothing },
  { "recovery-undoes-any-stage-twice", test_recovery_undoes_any_stage_twice },
  { "recovery-completes-a-cut-twice", test_recovery_completes_a_cut_twice },
  { "recovery-waits-for-the-volume", test_recovery_waits_for_the_volume },
  { "refuses-to-delete-what-is-gone", test_refuses_to_delete_what_is_gone },
  { "refuses-to-delete-what-is-not-ours",
    test_refuses_to_delete_what_is_not_ours },
  { "cuts-two-volumes-in-one-call", test_cuts_two_volumes_in_one_call },
  { "knows-what-is-new-after-it-looked-away",
    test_knows_what_is_new_after_it_looked_away },
  { "says-that-a-volume-is-missing", test_says_that_a_volume_is_missing },
  { NULL, NULL },
};
