/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A set is complete or absent, wherever its maker dies: before every call of
 * a driver the storage and the state directory are put aside, as a power cut
 * would leave them, and each of them is recovered later.  The recoveries die
 * in the same way, and are recovered in turn.
 */
#include "config.h"

#include "snapshot-core/service/set.h"

#include "tests/unit/memory-volume.h"
#include "tests/unit/scratch.h"

typedef struct {
  MemoryWorld *world;
  char *scratch;
} Crash;

typedef struct {
  MemoryTest *test;
  GPtrArray *crashes;
} Recorder;

static void
crash_free (Crash *crash)
{
  memory_world_free (crash->world);
  scratch_free (crash->scratch);
  g_free (crash);
}

static void
record (MemoryPhase phase, const char *store, gpointer data)
{
  Recorder *self = data;
  Crash *crash = g_new0 (Crash, 1);

  crash->world = memory_world_save ();
  crash->scratch = scratch_copy (self->test->scratch);
  g_ptr_array_add (self->crashes, crash);
}

/* Where @run could have died. */
static GPtrArray *
crashes_of (MemoryTest *f, void (*run) (MemoryTest *))
{
  Recorder recorder = { f, g_ptr_array_new_with_free_func (
                               (GDestroyNotify) crash_free) };

  memory_driver_set_hook (record, &recorder);
  run (f);
  memory_driver_set_hook (NULL, NULL);
  return recorder.crashes;
}

/* Go on as the next process after a crash. */
static void
restart (MemoryTest *f, Crash *crash)
{
  g_autofree char *directory = g_build_filename (crash->scratch, "state", NULL);

  snap_state_free (f->state);
  scratch_free (f->scratch);
  f->scratch = g_steal_pointer (&crash->scratch);
  f->state = snap_state_new (directory);
  memory_world_restore (g_steal_pointer (&crash->world));
}

static void
create (MemoryTest *f)
{
  snap_set_free (memory_test_create (f, "mon", "memory:a", "slow-memory:b"));
}

static void delete (MemoryTest *f)
{
  g_autoptr (SnapVolume) a = memory_test_open (f, "memory:a");
  g_autoptr (SnapVolume) b = memory_test_open (f, "slow-memory:b");
  g_autoptr (SnapPoint) point_a = memory_test_point (f, a, "mon");
  g_autoptr (SnapPoint) point_b = memory_test_point (f, b, "mon");
  const SnapSetMember members[] = { { a, point_a }, { b, point_b } };

  g_assert_true (snap_set_delete (f->state, members, 2, NULL));
}

static void
recover (MemoryTest *f)
{
  GError *error = NULL;
  g_auto (SnapSetFound) found = { 0 };

  g_assert_true (snap_set_recover (f->state, f->registry, &found, &error));
  g_assert_no_error (error);
}

/* Complete or absent for whoever lists, recovered or not. */
static guint
assert_all_or_none (MemoryTest *f)
{
  guint n = memory_test_n_listed (f, "memory:a");

  g_assert_cmpuint (memory_test_n_listed (f, "slow-memory:b"), ==, n);
  return n;
}

/* Nothing is there but what is listed. */
static void
assert_clean (MemoryTest *f)
{
  guint n = assert_all_or_none (f);

  g_assert_cmpuint (memory_store_n_snaps ("a"), ==, n);
  g_assert_cmpuint (memory_store_n_snaps ("b"), ==, n);
  g_assert_cmpuint (memory_test_n_files (f, "sets"), ==, n);
  g_assert_cmpuint (memory_test_n_files (f, "journal"), ==, 0);
}

/* Returns how many recoveries there were. */
static guint
recover_everywhere (MemoryTest *f, GPtrArray *crashes, guint *n_complete)
{
  guint n_recoveries = 0;

  for (guint i = 0; i < crashes->len; i++) {
    g_autoptr (GPtrArray) again = NULL;
    guint listed;

    restart (f, g_ptr_array_index (crashes, i));
    assert_all_or_none (f);
    again = crashes_of (f, recover);
    assert_clean (f);
    listed = memory_test_n_listed (f, "memory:a");
    *n_complete += listed;
    for (guint j = 0; j < again->len; j++) {
      restart (f, g_ptr_array_index (again, j));
      assert_all_or_none (f);
      recover (f);
      assert_clean (f);
      g_assert_cmpuint (memory_test_n_listed (f, "memory:a"), ==, listed);
      n_recoveries++;
    }
    n_recoveries++;
  }
  return n_recoveries;
}

static void
check_crashes (MemoryTest *f, void (*run) (MemoryTest *))
{
  g_autoptr (GPtrArray) crashes = crashes_of (f, run);
  guint n_complete = 0;
  guint n = recover_everywhere (f, crashes, &n_complete);

  g_test_message ("%u crashes, %u of them complete; %u recoveries",
                  crashes->len, n_complete, n);

  /* Both ends must have been seen. */
  g_assert_cmpuint (n_complete, >, 0);
  g_assert_cmpuint (n_complete, <, crashes->len);
}

static void
setup (MemoryTest *f, gconstpointer data)
{
  memory_test_setup (f, data);
  memory_store_create ("a", MEMORY_BLOCK);
  memory_store_create ("b", MEMORY_BLOCK);
}

static void
test_creation (MemoryTest *f, gconstpointer data)
{
  check_crashes (f, create);
}

static void
test_deletion (MemoryTest *f, gconstpointer data)
{
  create (f);
  check_crashes (f, delete);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/set/crash/a-creation-is-complete-or-absent", MemoryTest, NULL,
              setup, test_creation, memory_test_teardown);
  g_test_add ("/set/crash/a-deletion-is-complete-or-absent", MemoryTest, NULL,
              setup, test_deletion, memory_test_teardown);
  return g_test_run ();
}
