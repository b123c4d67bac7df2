/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/service/export-twin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/fd.h"
#include "snapshot-core/service/export-volume.h"

/* Comparisons at a time; more wait for one of these. */
#define MAX_AT_A_TIME 8

/* How often it is looked whether a comparison was called off. */
#define LOOK_MS 100

/* Records that are sent, and read, at a time. */
#define BATCH 1024

typedef enum {
  QUESTION_CHECK, /* whether they can be compared */
  QUESTION_COMPARE,
} QuestionKind;

/* Two points by their indices. */
typedef struct {
  guint32 kind;
  guint32 volume, from, to;
} Question;

/* The answer is a stream of these on a pipe.  The last one is of another kind
   than the rest; behind a failure comes its message. */
typedef enum {
  RECORD_EXTENT,
  RECORD_DONE,
  RECORD_FAILURE,
} RecordKind;

typedef struct {
  guint64 offset;
  guint64 length; /* of a failure: of the message */
  guint32 flags;  /* of a failure: its code */
  guint32 kind;
} Record;

#define MAX_MESSAGE 4096

/* ---- the answer, in the second process ---- */

typedef struct {
  int pipe;
  guint n_records;
  Record records[BATCH];
} Answer;

static gboolean
flush (Answer *self, GError **error)
{
  gsize length = self->n_records * sizeof (Record);

  self->n_records = 0;
  return snap_fd_write_all (self->pipe, self->records, length, error);
}

static gboolean
add_record (Answer *self, const Record *record, GError **error)
{
  self->records[self->n_records++] = *record;
  return self->n_records < BATCH || flush (self, error);
}

/* A SnapExtentFunc.  That nobody reads any more is how it is called off. */
static gboolean
add_extent (const SnapExtent *extent, gpointer answer, GError **error)
{
  const Record record = { extent->offset, extent->length, extent->flags,
                          RECORD_EXTENT };

  return add_record (answer, &record, error);
}

static void
add_failure (Answer *self, const GError *error)
{
  gsize length = MIN (strlen (error->message), MAX_MESSAGE);
  const Record record = { 0, length,
                          error->domain == SNAP_ERROR ? error->code
                                                      : SNAP_ERROR_FAILED,
                          RECORD_FAILURE };

  if (add_record (self, &record, NULL) && flush (self, NULL))
    (void) snap_fd_write_all (self->pipe, error->message, length, NULL);
}

/* ---- the question, in the second process ---- */

/* A task of the pool's. */
typedef struct {
  QuestionKind kind;
  SnapExportPoint *from, *to;
  int pipe;
} Task;

static gboolean
find_answer (const Task *task, Answer *answer, GCancellable *cancellable,
             GError **error)
{
  if (task->kind == QUESTION_CHECK)
    return snap_diff_check (task->to->volume, task->from->point,
                            task->to->point, error);
  return snap_export_points_compare (task->from, task->to, cancellable,
                                     add_extent, answer, error);
}

static void
run_task (gpointer data, gpointer cancellable)
{
  g_autofree Task *task = data;
  g_autofree Answer *answer = g_new0 (Answer, 1);
  g_autoptr (GError) error = NULL;
  const Record done = { .kind = RECORD_DONE };

  answer->pipe = task->pipe;
  if (!find_answer (task, answer, cancellable, &error))
    add_failure (answer, error);
  else if (add_record (answer, &done, NULL))
    (void) flush (answer, NULL);
  close (task->pipe);
}

static SnapExportPoint *
point_at (GPtrArray *volumes, guint32 volume, guint32 point)
{
  const SnapExportVolume *found =
      volume < volumes->len ? g_ptr_array_index (volumes, volume) : NULL;

  return found != NULL && point < found->points->len
             ? g_ptr_array_index (found->points, point)
             : NULL;
}

static void
take_question (GPtrArray *volumes, const Question *question, gsize length,
               int pipe, GThreadPool *pool)
{
  Task task = { .pipe = pipe };

  if (length == sizeof *question) {
    task.kind = question->kind;
    task.from = point_at (volumes, question->volume, question->from);
    task.to = point_at (volumes, question->volume, question->to);
  }
  if (pipe >= 0 && task.from != NULL && task.to != NULL)
    g_thread_pool_push (pool, g_memdup2 (&task, sizeof task), NULL);
  else if (pipe >= 0)
    close (pipe);
}

void
snap_export_twin_run (int socket, GPtrArray *volumes)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  GThreadPool *pool =
      g_thread_pool_new (run_task, cancellable, MAX_AT_A_TIME, FALSE, NULL);
  Question question;
  gsize length;
  int pipe;

  while (
      (length = snap_twin_receive (socket, &question, sizeof question, &pipe))
      > 0)
    take_question (volumes, &question, length, pipe, pool);
  g_cancellable_cancel (cancellable);
  g_thread_pool_free (pool, FALSE, TRUE);
}

/* ---- in the first process ---- */

static guint32
index_of (GPtrArray *array, gconstpointer element)
{
  guint index = G_MAXUINT;

  g_ptr_array_find (array, element, &index);
  return index;
}

static gboolean
find_points (GPtrArray *volumes, const SnapExportPoint *from,
             const SnapExportPoint *to, Question *question)
{
  for (guint i = 0; i < volumes->len; i++) {
    const SnapExportVolume *volume = g_ptr_array_index (volumes, i);

    question->volume = i;
    question->from = index_of (volume->points, from);
    question->to = index_of (volume->points, to);
    if (question->from < volume->points->len)
      return question->to < volume->points->len;
  }
  return FALSE;
}

/* Wait for the pipe to have something, or an end. */
static gboolean
wait_for_answer (int pipe, GCancellable *cancellable, GError **error)
{
  struct pollfd wait = { .fd = pipe, .events = POLLIN };

  while (!g_cancellable_is_cancelled (cancellable))
    if (poll (&wait, 1, LOOK_MS) > 0)
      return TRUE;
  return snap_error_set (error, SNAP_ERROR_CANCELLED,
                         "the comparison was called off");
}

/* All of @length bytes. */
static gboolean
read_all (int pipe, void *buffer, gsize length, GCancellable *cancellable,
          GError **error)
{
  guint8 *at = buffer;

  while (length > 0) {
    ssize_t n;

    if (!wait_for_answer (pipe, cancellable, error))
      return FALSE;
    n = read (pipe, at, length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return snap_error_set (error, SNAP_ERROR_IO,
                             "the process that compares has ended");
    at += n;
    length -= n;
  }
  return TRUE;
}

static gboolean
take_failure (int pipe, const Record *record, GCancellable *cancellable,
              GError **error)
{
  char message[MAX_MESSAGE + 1] = "";

  if (record->length <= MAX_MESSAGE
      && !read_all (pipe, message, record->length, cancellable, error))
    return FALSE;
  return snap_error_set (error, record->flags, "%s", message);
}

/* Extents until something else comes: that is success or a failure, and what
   ends without either is one, too. */
static gboolean
take_answer (int pipe, GCancellable *cancellable, SnapExtentFunc emit,
             gpointer user_data, GError **error)
{
  for (;;) {
    SnapExtent extent;
    Record record;

    if (!read_all (pipe, &record, sizeof record, cancellable, error))
      return FALSE;
    if (record.kind == RECORD_DONE)
      return TRUE;
    if (record.kind != RECORD_EXTENT)
      return take_failure (pipe, &record, cancellable, error);
    extent = (SnapExtent){ record.offset, record.length, record.flags };
    if (!emit (&extent, user_data, error))
      return FALSE;
  }
}

static gboolean
ask (SnapTwin *twin, GPtrArray *volumes, Question *question,
     const SnapExportPoint *from, const SnapExportPoint *to, int *reader,
     GError **error)
{
  int ends[2];
  gboolean asked;

  if (!find_points (volumes, from, to, question))
    return snap_error_set (error, SNAP_ERROR_FAILED, "%s: no point to compare",
                           to->volume->location);
  if (pipe2 (ends, O_CLOEXEC) < 0)
    return snap_error_set_errno (error, errno, "pipe");
  *reader = ends[0];
  asked = snap_twin_send (twin, question, sizeof *question, ends[1], error);
  close (ends[1]);
  return asked;
}

gboolean
snap_export_twin_check (SnapTwin *twin, GPtrArray *volumes,
                        const SnapExportPoint *from, const SnapExportPoint *to,
                        GCancellable *cancellable, GError **error)
{
  Question question = { .kind = QUESTION_CHECK };
  snap_autofd int reader = -1;

  return ask (twin, volumes, &question, from, to, &reader, error)
         && take_answer (reader, cancellable, NULL, NULL, error);
}

gboolean
snap_export_twin_compare (SnapTwin *twin, GPtrArray *volumes,
                          const SnapExportPoint *from,
                          const SnapExportPoint *to, GCancellable *cancellable,
                          SnapExtentFunc emit, gpointer user_data,
                          GError **error)
{
  Question question = { .kind = QUESTION_COMPARE };
  snap_autofd int reader = -1;

  return ask (twin, volumes, &question, from, to, &reader, error)
         && take_answer (reader, cancellable, emit, user_data, error);
}
