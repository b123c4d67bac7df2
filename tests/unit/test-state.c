/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/state.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/scratch.h"

#define ID "0123456789abcdef"
#define OTHER "fedcba9876543210"

typedef struct {
  char *scratch;
  char *directory;
  SnapState *state;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->scratch = scratch_new ();
  f->directory = g_build_filename (f->scratch, "a", "b", NULL);
  f->state = snap_state_new (f->directory);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  snap_state_free (f->state);
  g_free (f->directory);
  scratch_free (f->scratch);
}

static GHashTable *
new_set (void)
{
  return g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
}

/* The next orphan's id, which is left as it is; NULL for none. */
static char *
next_orphan (SnapState *state, GHashTable *skip)
{
  g_autofree char *text = NULL;
  SnapJournal *journal = NULL;
  GError *error = NULL;
  char *id;

  g_assert_true (
      snap_journal_next_orphan (state, skip, &journal, &text, &error));
  g_assert_no_error (error);
  g_assert_true ((journal == NULL) == (text == NULL));
  if (journal == NULL)
    return NULL;
  id = g_strdup (snap_journal_set_id (journal));
  snap_journal_abandon (journal);
  return id;
}

/* ---- the directory ---- */

static void
test_asking_creates_nothing (Fixture *f, gconstpointer data)
{
  g_autoptr (GHashTable) skip = new_set ();
  g_autoptr (GHashTable) ids = snap_journal_list (f->state, NULL);
  g_autofree char *orphan = next_orphan (f->state, skip);
  GError *error = NULL;

  g_assert_cmpuint (g_hash_table_size (ids), ==, 0);
  g_assert_null (orphan);
  g_assert_null (snap_journal_peek (f->state, ID, &error));
  g_assert_no_error (error);
  g_assert_null (snap_manifest_load (f->state, ID, &error));
  g_assert_no_error (error);
  g_assert_false (g_file_test (f->directory, G_FILE_TEST_EXISTS));
}

static void
test_is_made_for_us_alone (Fixture *f, gconstpointer data)
{
  struct stat st;

  g_assert_true (snap_state_create (f->state, NULL));
  g_assert_true (snap_state_create (f->state, NULL));
  g_assert_cmpint (stat (snap_state_directory (f->state), &st), ==, 0);
  g_assert_cmpuint (st.st_mode & 0777, ==, 0700);
}

static void
test_a_file_in_its_place_is_an_error (Fixture *f, gconstpointer data)
{
  g_autofree char *parent = g_path_get_dirname (f->directory);
  g_autoptr (GError) error = NULL;

  g_assert_true (g_file_set_contents (parent, "", 0, NULL));
  g_assert_false (snap_state_create (f->state, &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_IO);
  g_assert_nonnull (strstr (error->message, parent));
}

static void
test_ids_are_random_and_checked (void)
{
  g_autofree char *one = snap_set_id_new ();
  g_autofree char *other = snap_set_id_new ();

  g_assert_cmpstr (one, !=, other);
  g_assert_true (snap_set_id_is_valid (one));
  g_assert_false (snap_set_id_is_valid (NULL));
  g_assert_false (snap_set_id_is_valid (""));
  g_assert_false (snap_set_id_is_valid ("../../../../etc1"));
  g_assert_false (snap_set_id_is_valid ("0123456789abcdeF"));
  g_assert_false (snap_set_id_is_valid ("0123456789abcdef0"));
}

/* ---- the journal ---- */

static void
test_an_entry_lives_until_it_is_finished (Fixture *f, gconstpointer data)
{
  SnapJournal *journal = snap_journal_begin (f->state, ID, "one\n", NULL);
  g_autofree char *one = snap_journal_peek (f->state, ID, NULL);
  g_autofree char *two = NULL;
  g_autoptr (GHashTable) during = snap_journal_list (f->state, NULL);
  g_autoptr (GHashTable) after = NULL;

  g_assert_cmpstr (one, ==, "one\n");
  g_assert_true (snap_journal_update (journal, "two\n", NULL));
  two = snap_journal_peek (f->state, ID, NULL);
  g_assert_cmpstr (two, ==, "two\n");
  g_assert_true (g_hash_table_contains (during, ID));
  g_assert_true (snap_journal_finish (journal, NULL));
  after = snap_journal_list (f->state, NULL);
  g_assert_cmpuint (g_hash_table_size (after), ==, 0);
}

static void
test_nothing_is_left_of_a_finished_entry (Fixture *f, gconstpointer data)
{
  g_autofree char *path = g_build_filename (f->directory, "journal", NULL);
  g_autoptr (GDir) dir = NULL;

  g_assert_true (snap_journal_finish (
      snap_journal_begin (f->state, ID, "text", NULL), NULL));
  dir = g_dir_open (path, 0, NULL);
  g_assert_null (g_dir_read_name (dir));
}

static void
test_an_entry_is_nobodys_while_its_maker_lives (Fixture *f, gconstpointer data)
{
  g_autoptr (GHashTable) skip = new_set ();
  g_autoptr (GHashTable) fresh = new_set ();
  g_autoptr (GError) error = NULL;
  SnapJournal *journal = snap_journal_begin (f->state, ID, "text", NULL);
  g_autofree char *busy = next_orphan (f->state, skip);
  g_autofree char *orphan = NULL;

  g_assert_null (busy);
  g_assert_null (snap_journal_begin (f->state, ID, "mine", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_BUSY);
  g_assert_true (snap_journal_update (journal, "still mine", NULL));
  snap_journal_abandon (journal);
  orphan = next_orphan (f->state, fresh);
  g_assert_cmpstr (orphan, ==, ID);
}

static void
test_a_killed_maker_leaves_an_orphan (Fixture *f, gconstpointer data)
{
  g_autoptr (GHashTable) skip = new_set ();
  g_autofree char *orphan = NULL;
  pid_t pid = fork ();
  int status;

  if (pid == 0) {
    snap_journal_begin (f->state, ID, "text", NULL);
    kill (getpid (), SIGKILL);
  }
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  g_assert_true (WIFSIGNALED (status));
  orphan = next_orphan (f->state, skip);
  g_assert_cmpstr (orphan, ==, ID);
}

static void
test_orphans_come_once_each (Fixture *f, gconstpointer data)
{
  g_autoptr (GHashTable) skip = new_set ();
  g_autofree char *one = NULL;
  g_autofree char *two = NULL;
  g_autofree char *none = NULL;

  snap_journal_abandon (snap_journal_begin (f->state, ID, "x", NULL));
  snap_journal_abandon (snap_journal_begin (f->state, OTHER, "x", NULL));
  one = next_orphan (f->state, skip);
  two = next_orphan (f->state, skip);
  none = next_orphan (f->state, skip);
  g_assert_cmpstr (one, !=, two);
  g_assert_nonnull (two);
  g_assert_null (none);
}

static void
test_other_files_are_no_entries (Fixture *f, gconstpointer data)
{
  static const char *const names[] = { "short.json", ID ".json.AbCdEf",
                                       ID ".lock", "..json",
                                       "0123456789ABCDEF.json" };
  g_autoptr (GHashTable) ids = NULL;

  g_assert_true (snap_state_create (f->state, NULL));
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path =
        g_build_filename (f->directory, "journal", names[i], NULL);

    g_assert_true (g_file_set_contents (path, "x", 1, NULL));
  }
  ids = snap_journal_list (f->state, NULL);
  g_assert_cmpuint (g_hash_table_size (ids), ==, 0);
}

static gboolean
has_file (Fixture *f, const char *part, const char *name)
{
  g_autofree char *path = g_build_filename (f->directory, part, name, NULL);

  return g_file_test (path, G_FILE_TEST_EXISTS);
}

static void
put_file (Fixture *f, const char *part, const char *name)
{
  g_autofree char *path = g_build_filename (f->directory, part, name, NULL);

  g_assert_true (g_file_set_contents (path, "x", 1, NULL));
}

static void
test_sweeps_up_after_the_dead_alone (Fixture *f, gconstpointer data)
{
  SnapJournal *journal = snap_journal_begin (f->state, ID, "text", NULL);

  put_file (f, "journal", ID ".json.AbCdEf");
  put_file (f, "journal", OTHER ".json.AbCdEf");
  put_file (f, "journal", OTHER ".lock");
  put_file (f, "journal", "notes.txt");
  snap_state_sweep (f->state);
  g_assert_true (has_file (f, "journal", ID ".json.AbCdEf"));
  g_assert_true (has_file (f, "journal", ID ".lock"));
  g_assert_false (has_file (f, "journal", OTHER ".json.AbCdEf"));
  g_assert_false (has_file (f, "journal", OTHER ".lock"));
  g_assert_true (has_file (f, "journal", "notes.txt"));

  snap_journal_abandon (journal);
  snap_state_sweep (f->state);
  g_assert_false (has_file (f, "journal", ID ".json.AbCdEf"));
  g_assert_true (has_file (f, "journal", ID ".json"));
}

static void
test_notes_go_with_their_entry (Fixture *f, gconstpointer data)
{
  SnapJournal *journal = snap_journal_begin (f->state, ID, "text", NULL);
  g_autoptr (GHashTable) skip = new_set ();
  g_autofree char *text = NULL;
  GError *error = NULL;
  int fd;

  g_assert_cmpint (snap_journal_read_notes (journal, &error), ==, -1);
  g_assert_no_error (error);
  fd = snap_journal_open_notes (journal, &error);
  g_assert_no_error (error);
  g_assert_cmpint (write (fd, "x", 1), ==, 1);
  close (fd);

  /* Its maker dies; the notes stay as long as the entry. */
  snap_journal_abandon (journal);
  snap_state_sweep (f->state);
  g_assert_true (has_file (f, "journal", ID ".notes"));
  g_assert_true (
      snap_journal_next_orphan (f->state, skip, &journal, &text, NULL));
  fd = snap_journal_read_notes (journal, &error);
  g_assert_no_error (error);
  g_assert_cmpint (lseek (fd, 0, SEEK_END), >, 1);
  close (fd);
  g_assert_true (snap_journal_finish (journal, NULL));
  g_assert_false (has_file (f, "journal", ID ".notes"));

  put_file (f, "journal", OTHER ".notes");
  snap_state_sweep (f->state);
  g_assert_false (has_file (f, "journal", OTHER ".notes"));
}

/* ---- manifests ---- */

static void
test_a_manifest_is_saved_and_removed (Fixture *f, gconstpointer data)
{
  g_autofree char *text = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (snap_manifest_save (f->state, ID, "one", NULL));
  g_assert_true (snap_manifest_save (f->state, ID, "two", NULL));
  text = snap_manifest_load (f->state, ID, NULL);
  g_assert_cmpstr (text, ==, "two");
  g_assert_true (snap_manifest_remove (f->state, ID, NULL));
  g_assert_true (snap_manifest_remove (f->state, ID, NULL));
  g_assert_null (snap_manifest_load (f->state, ID, &error));
  g_assert_no_error (error);
}

/* A SnapManifestEditor that does as told and shows what it saw. */
typedef struct {
  Fixture *f;
  SnapManifestEdit answer;
  char *seen;
} Editor;

static SnapManifestEdit
edit (const char *text, gpointer data, char **edited)
{
  Editor *self = data;

  /* The lock and what is to be renamed are safe from a sweep meanwhile. */
  put_file (self->f, "sets", ID ".json.AbCdEf");
  snap_state_sweep (self->f->state);
  g_assert_true (has_file (self->f, "sets", ID ".json.AbCdEf"));
  g_free (self->seen);
  self->seen = g_strdup (text);
  if (self->answer == SNAP_MANIFEST_REPLACE)
    *edited = g_strconcat (text, "+", NULL);
  return self->answer;
}

static void
assert_edited (Editor *self, SnapManifestEdit answer, const char *wanted)
{
  g_autofree char *text = NULL;
  GError *error = NULL;

  self->answer = answer;
  g_assert_true (snap_manifest_edit (self->f->state, ID, edit, self, &error));
  g_assert_no_error (error);
  text = snap_manifest_load (self->f->state, ID, NULL);
  g_assert_cmpstr (text, ==, wanted);
}

static void
test_a_manifest_is_kept_replaced_or_removed (Fixture *f, gconstpointer data)
{
  Editor editor = { .f = f };

  assert_edited (&editor, SNAP_MANIFEST_REPLACE, NULL);
  g_assert_null (editor.seen);
  g_assert_true (snap_manifest_save (f->state, ID, "one", NULL));
  assert_edited (&editor, SNAP_MANIFEST_KEEP, "one");
  assert_edited (&editor, SNAP_MANIFEST_REPLACE, "one+");
  assert_edited (&editor, SNAP_MANIFEST_REMOVE, NULL);
  g_assert_cmpstr (editor.seen, ==, "one+");
  g_free (editor.seen);

  g_assert_false (has_file (f, "sets", ID ".lock"));
  snap_state_sweep (f->state);
  g_assert_false (has_file (f, "sets", ID ".json.AbCdEf"));
}

static void
test_an_id_never_leaves_the_directory (Fixture *f, gconstpointer data)
{
  g_autofree char *victim = g_build_filename (f->scratch, "victim.json", NULL);
  g_autoptr (GError) error = NULL;

  g_assert_true (g_file_set_contents (victim, "safe", -1, NULL));
  g_assert_true (snap_state_create (f->state, NULL));
  g_assert_null (snap_manifest_load (f->state, "../../../victim", NULL));
  g_assert_true (snap_manifest_remove (f->state, "../../../victim", NULL));
  g_assert_true (g_file_test (victim, G_FILE_TEST_EXISTS));
  g_assert_false (snap_manifest_save (f->state, "../x", "text", &error));
  g_assert_error (error, SNAP_ERROR, SNAP_ERROR_USAGE);
}

#define ADD(name, test) \
  g_test_add ("/state/" name, Fixture, NULL, setup, test, teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("asking-creates-nothing", test_asking_creates_nothing);
  ADD ("is-made-for-us-alone", test_is_made_for_us_alone);
  ADD ("a-file-in-its-place-is-an-error", test_a_file_in_its_place_is_an_error);
  g_test_add_func ("/state/ids-are-random-and-checked",
                   test_ids_are_random_and_checked);
  ADD ("an-entry-lives-until-it-is-finished",
       test_an_entry_lives_until_it_is_finished);
  ADD ("nothing-is-left-of-a-finished-entry",
       test_nothing_is_left_of_a_finished_entry);
  ADD ("an-entry-is-nobodys-while-its-maker-lives",
       test_an_entry_is_nobodys_while_its_maker_lives);
  ADD ("a-killed-maker-leaves-an-orphan", test_a_killed_maker_leaves_an_orphan);
  ADD ("orphans-come-once-each", test_orphans_come_once_each);
  ADD ("other-files-are-no-entries", test_other_files_are_no_entries);
  ADD ("sweeps-up-after-the-dead-alone", test_sweeps_up_after_the_dead_alone);
  ADD ("notes-go-with-their-entry", test_notes_go_with_their_entry);
  ADD ("a-manifest-is-saved-and-removed", test_a_manifest_is_saved_and_removed);
  ADD ("a-manifest-is-kept-replaced-or-removed",
       test_a_manifest_is_kept_replaced_or_removed);
  ADD ("an-id-never-leaves-the-directory",
       test_an_id_never_leaves_the_directory);
  return g_test_run ();
}
