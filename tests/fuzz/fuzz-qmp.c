/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arbitrary bytes as what QEMU sends: each line is a message and, where it
 * returns something, one of the three answers that a list of disks is made of.
 *
 * Whatever comes: no warning, and a disk that is listed is whole.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "qmp/disks.h"
#include "qmp/message.h"
#include "tests/fuzz/fuzz-target.h"

/* query-block, query-named-block-nodes, query-blockstats. */
#define N_ANSWERS 3

typedef struct {
  JsonNode *answers[N_ANSWERS];
  guint n;
} Answers;

static void
take_line (Answers *answers, const char *line, gsize length)
{
  g_autoptr (QmpMessage) message = qmp_message_parse (line, length, NULL);
  g_autoptr (GError) error = NULL;

  if (message == NULL)
    return;
  if (message->body == NULL)
    abort ();
  if (message->kind == QMP_MESSAGE_ERROR
      && (qmp_message_set_error (message->body, "x", &error) || error == NULL
          || strchr (error->message, '\n') != NULL))
    abort ();
  if (message->kind == QMP_MESSAGE_RETURN && answers->n < N_ANSWERS)
    answers->answers[answers->n++] = g_steal_pointer (&message->body);
}

static void
check_disk (const QmpDisk *disk)
{
  if (disk->device == NULL || disk->top == NULL || disk->node == NULL
      || disk->format == NULL || disk->protocol == NULL
      || disk->filename == NULL || disk->size > G_MAXINT64)
    abort ();
  for (guint i = 0; i < disk->bitmaps->len; i++)
    if (((QmpBitmap *) disk->bitmaps->pdata[i])->name == NULL)
      abort ();
}

static void
list_disks (const Answers *answers)
{
  g_autoptr (GPtrArray) disks = qmp_disks_parse (
      answers->answers[0], answers->answers[1], answers->answers[2], NULL);

  for (guint i = 0; disks != NULL && i < disks->len; i++) {
    const QmpDisk *disk = g_ptr_array_index (disks, i);

    check_disk (disk);
    if (qmp_disks_find (disks, disk->device) == NULL
        || qmp_disks_find (disks, disk->node) == NULL)
      abort ();
  }
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  const char *at = (const char *) data;
  Answers answers = { { NULL }, 0 };

  while (size > 0) {
    const char *end = memchr (at, '\n', size);
    gsize length = end == NULL ? size : (gsize) (end - at);
    g_autofree char *line = g_memdup2 (at, length);

    take_line (&answers, line, length);
    at += MIN (length + 1, size);
    size -= MIN (length + 1, size);
  }
  if (answers.n == N_ANSWERS)
    list_disks (&answers);
  for (guint i = 0; i < answers.n; i++)
    json_node_unref (answers.answers[i]);
  return 0;
}
