/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * read-blocks FILE LIST: read the blocks of 4096 bytes that LIST numbers (64-bit
 * words) with O_DIRECT, and do nothing with them.
 *
 * As fast as can be: all are known at once, so they are sorted, neighbours are
 * read together, up to 1 MiB, and N_THREADS reads are under way at any time.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define MAX_RUN 256
#define N_THREADS 32

typedef struct {
  int fd;
  uint64_t *blocks; /* sorted */
  size_t n, next;
  pthread_mutex_t lock; /* of next */
} Work;

static void
fail (const char *object)
{
  fprintf (stderr, "read-blocks: %s: %s\n", object, strerror (errno));
  exit (1);
}

static int
compare (const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

  return (x > y) - (x < y);
}

/* The next run of neighbours: how many, 0 at the end. */
static size_t
take_run (Work *work, uint64_t *first)
{
  size_t n = 0;

  pthread_mutex_lock (&work->lock);
  if (work->next < work->n)
    *first = work->blocks[work->next];
  while (work->next < work->n && n < MAX_RUN
         && work->blocks[work->next] == *first + n) {
    n++;
    work->next++;
  }
  pthread_mutex_unlock (&work->lock);
  return n;
}

static void *
read_runs (void *data)
{
  Work *work = data;
  void *buffer;
  uint64_t first;
  size_t n;

  if (posix_memalign (&buffer, BLOCK, MAX_RUN * BLOCK) != 0)
    fail ("memory");
  while ((n = take_run (work, &first)) > 0)
    if (pread (work->fd, buffer, n * BLOCK, (off_t) (first * BLOCK))
        != (ssize_t) (n * BLOCK))
      fail ("read");
  free (buffer);
  return NULL;
}

static void
load_list (Work *work, const char *path)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  struct stat st;

  if (fd < 0 || fstat (fd, &st) < 0)
    fail (path);
  work->n = (size_t) st.st_size / sizeof *work->blocks;
  work->blocks = malloc ((size_t) st.st_size);
  if (work->blocks == NULL
      || read (fd, work->blocks, (size_t) st.st_size) != st.st_size)
    fail (path);
  close (fd);
  qsort (work->blocks, work->n, sizeof *work->blocks, compare);
}

int
main (int argc, char **argv)
{
  Work work = { .lock = PTHREAD_MUTEX_INITIALIZER };
  pthread_t threads[N_THREADS];

  if (argc != 3)
    return fprintf (stderr, "usage: read-blocks FILE LIST\n"), 2;
  work.fd = open (argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (work.fd < 0)
    fail (argv[1]);
  load_list (&work, argv[2]);
  for (int i = 0; i < N_THREADS; i++)
    if ((errno = pthread_create (&threads[i], NULL, read_runs, &work)) != 0)
      fail ("thread");
  for (int i = 0; i < N_THREADS; i++)
    pthread_join (threads[i], NULL);
  free (work.blocks);
  close (work.fd);
  return 0;
}
