/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/hold.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/memory-volume.h"

static SnapPoint *
point_with_id (SnapPointKind kind, const char *id)
{
  SnapPoint *point = snap_point_new (kind, "p");

  point->id = g_strdup (id);
  return point;
}

static SnapHold *
take (MemoryTest *f, SnapVolume *volume, const SnapPoint *point,
      SnapHoldMode mode)
{
  GError *error = NULL;
  SnapHold *hold = snap_hold_take (f->state, volume, point, mode, &error);

  g_assert_no_error (error);
  return hold;
}

static void
assert_busy (MemoryTest *f, SnapVolume *volume, const SnapPoint *point,
             SnapHoldMode mode)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (snap_hold_take (f->state, volume, point, mode, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_BUSY);
  g_assert_nonnull (strstr (error->message, "disk@p"));
}

static void
test_users_share_and_a_deleter_does_not (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (SnapPoint) point = point_with_id (SNAP_POINT_SNAPSHOT, "1");
  SnapHold *one, *two;

  memory_store_create ("disk", 0);
  volume = memory_test_open (f, "memory:disk");
  one = take (f, volume, point, SNAP_HOLD_USE);
  two = take (f, volume, point, SNAP_HOLD_USE);
  assert_busy (f, volume, point, SNAP_HOLD_DELETE);
  snap_hold_release (one);
  assert_busy (f, volume, point, SNAP_HOLD_DELETE);
  snap_hold_release (two);
  one = take (f, volume, point, SNAP_HOLD_DELETE);
  assert_busy (f, volume, point, SNAP_HOLD_DELETE);
  assert_busy (f, volume, point, SNAP_HOLD_USE);
  snap_hold_release (one);
  g_assert_cmpuint (memory_test_n_files (f, "holds"), ==, 0);
}

static gboolean
is_held (MemoryTest *f, SnapVolume *volume, const SnapPoint *point)
{
  GError *error = NULL;
  gboolean held;

  g_assert_true (snap_hold_probe (f->state, volume, point, &held, &error));
  g_assert_no_error (error);
  return held;
}

static void
test_asking_holds_nothing (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (SnapPoint) point = point_with_id (SNAP_POINT_SNAPSHOT, "1");
  g_autoptr (SnapPoint) empty = point_with_id (SNAP_POINT_EMPTY, NULL);
  SnapHold *hold;

  memory_store_create ("disk", 0);
  volume = memory_test_open (f, "memory:disk");
  g_assert_false (is_held (f, volume, point));
  g_assert_false (is_held (f, volume, empty));
  g_assert_false (
      g_file_test (snap_state_directory (f->state), G_FILE_TEST_EXISTS));
  hold = take (f, volume, point, SNAP_HOLD_USE);
  g_assert_true (is_held (f, volume, point));
  snap_hold_release (take (f, volume, point, SNAP_HOLD_USE));
  snap_hold_release (hold);
  g_assert_false (is_held (f, volume, point));
  g_assert_cmpuint (memory_test_n_files (f, "holds"), ==, 0);
}

static void
test_other_identities_are_not_in_the_way (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (SnapVolume) other = NULL;
  g_autoptr (SnapPoint) point = point_with_id (SNAP_POINT_SNAPSHOT, "1");
  g_autoptr (SnapPoint) next = point_with_id (SNAP_POINT_SNAPSHOT, "2");
  g_autoptr (SnapPoint) live = point_with_id (SNAP_POINT_LIVE, "live");
  g_autoptr (SnapPoint) joined = point_with_id (SNAP_POINT_SNAPSHOT, "11");
  g_autoptr (GPtrArray) holds =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_hold_release);

  memory_store_create ("disk", 0);
  memory_store_create ("disk1", 0);
  volume = memory_test_open (f, "memory:disk");
  other = memory_test_open (f, "memory:disk1");
  g_ptr_array_add (holds, take (f, volume, point, SNAP_HOLD_DELETE));
  g_ptr_array_add (holds, take (f, volume, next, SNAP_HOLD_DELETE));
  g_ptr_array_add (holds, take (f, volume, live, SNAP_HOLD_DELETE));

  /* "disk" "11" and "disk1" "1" are the same letters. */
  g_ptr_array_add (holds, take (f, volume, joined, SNAP_HOLD_DELETE));
  g_ptr_array_add (holds, take (f, other, point, SNAP_HOLD_DELETE));
  g_ptr_array_add (holds, snap_hold_take_volume (f->state, volume, NULL));
  g_assert_nonnull (holds->pdata[holds->len - 1]);
}

static void
test_nothing_can_always_be_held (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (SnapPoint) empty = point_with_id (SNAP_POINT_EMPTY, "empty");
  SnapHold *one, *two;

  memory_store_create ("disk", 0);
  volume = memory_test_open (f, "memory:disk");
  one = take (f, volume, empty, SNAP_HOLD_DELETE);
  two = take (f, volume, empty, SNAP_HOLD_DELETE);
  snap_hold_release (one);
  snap_hold_release (two);
}

static void
test_one_at_a_time_changes_a_volume (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (SnapHold) hold = NULL;
  g_autoptr (GError) error = NULL;

  memory_store_create ("disk", 0);
  volume = memory_test_open (f, "memory:disk");
  hold = snap_hold_take_volume (f->state, volume, NULL);
  g_assert_nonnull (hold);
  g_assert_null (snap_hold_take_volume (f->state, volume, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_BUSY);
}

#define N_USERS 4
#define N_USES 2000

typedef struct {
  MemoryTest *f;
  SnapVolume *volume;
  SnapPoint *point;
} Shared;

static gpointer
come_and_go (gpointer data)
{
  const Shared *shared = data;

  for (int i = 0; i < N_USES; i++)
    snap_hold_release (
        take (shared->f, shared->volume, shared->point, SNAP_HOLD_USE));
  return NULL;
}

static void
test_users_who_leave_are_in_nobodys_way (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (SnapPoint) point = point_with_id (SNAP_POINT_SNAPSHOT, "1");
  GThread *threads[N_USERS];
  Shared shared = { .f = f, .point = point };

  memory_store_create ("disk", 0);
  shared.volume = volume = memory_test_open (f, "memory:disk");
  for (int i = 0; i < N_USERS; i++)
    threads[i] = g_thread_new ("user", come_and_go, &shared);
  for (int i = 0; i < N_USERS; i++)
    g_thread_join (threads[i]);
}

static void
test_a_killed_user_holds_no_more (MemoryTest *f, gconstpointer data)
{
  g_autoptr (SnapVolume) volume = NULL;
  g_autoptr (SnapPoint) point = point_with_id (SNAP_POINT_SNAPSHOT, "1");
  int ready[2], status;
  char byte;
  pid_t pid;

  memory_store_create ("disk", 0);
  volume = memory_test_open (f, "memory:disk");
  g_assert_cmpint (pipe (ready), ==, 0);
  pid = fork ();
  if (pid == 0) {
    take (f, volume, point, SNAP_HOLD_USE);
    g_assert_cmpint (write (ready[1], "x", 1), ==, 1);
    pause ();
  }
  g_assert_cmpint (read (ready[0], &byte, 1), ==, 1);
  assert_busy (f, volume, point, SNAP_HOLD_DELETE);
  kill (pid, SIGKILL);
  waitpid (pid, &status, 0);
  snap_hold_release (take (f, volume, point, SNAP_HOLD_DELETE));
  close (ready[0]);
  close (ready[1]);
}

#define ADD(name, test)                                                 \
  g_test_add ("/hold/" name, MemoryTest, NULL, memory_test_setup, test, \
              memory_test_teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("users-share-and-a-deleter-does-not",
       test_users_share_and_a_deleter_does_not);
  ADD ("asking-holds-nothing", test_asking_holds_nothing);
  ADD ("other-identities-are-not-in-the-way",
       test_other_identities_are_not_in_the_way);
  ADD ("nothing-can-always-be-held", test_nothing_can_always_be_held);
  ADD ("one-at-a-time-changes-a-volume", test_one_at_a_time_changes_a_volume);
  ADD ("users-who-leave-are-in-nobodys-way",
       test_users_who_leave_are_in_nobodys_way);
  ADD ("a-killed-user-holds-no-more", test_a_killed_user_holds_no_more);
  return g_test_run ();
}
