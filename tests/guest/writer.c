/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's writer: numbered records that are on one disk before the next
 * disk gets them, for ever.  Usage: writer DELAY_US FILE…
 *
 * Record n goes to slot n mod N_SLOTS of the first file, then of the second,
 * and so on; then n + 1.  Each write is on the disk when it returns.  So at
 * any instant the newest records of the files are, in their order, n first and
 * then n - 1, for some number of files from none to all.
 *
 * A new file already holds records 0 to N_SLOTS - 1 (snaplib/guest_disks.py
 * makes it so).  A writer that starts again goes on after what all files have.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD_SIZE 4096
#define N_WORDS (RECORD_SIZE / 8)
#define N_SLOTS 2048
#define MAX_FILES 16
#define GAP_MS 100

static uint64_t record[N_WORDS] __attribute__ ((aligned (RECORD_SIZE)));

static void
fill_record (uint64_t n)
{
  for (uint64_t word = 0; word < N_WORDS; word++)
    record[word] = (n * 0x9E3779B97F4A7C15) ^ word;
  record[0] = n;
}

static int64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
give_up (const char *what)
{
  printf ("WRITER ERR %s: %s\n", what, strerror (errno));
  exit (1);
}

static uint64_t
newest_record (int fd)
{
  static uint64_t all[N_SLOTS * N_WORDS]
      __attribute__ ((aligned (RECORD_SIZE)));
  uint64_t newest = 0;

  if (pread (fd, all, sizeof all, 0) != sizeof all)
    give_up ("read");
  for (int slot = 0; slot < N_SLOTS; slot++)
    if (all[slot * N_WORDS] > newest)
      newest = all[slot * N_WORDS];
  return newest;
}

/* Tell how far we are ten times a second, and what took suspiciously long. */
static void
report (uint64_t n)
{
  static int64_t last, last_told;
  int64_t now = now_ms ();

  if (last != 0 && now - last > GAP_MS)
    printf ("WRITER GAP %lld ms before %llu\n", (long long) (now - last),
            (unsigned long long) n);
  if (now - last_told >= 100) {
    printf ("WRITER AT %llu\n", (unsigned long long) n);
    last_told = now;
  }
  last = now;
}

int
main (int argc, char **argv)
{
  int fds[MAX_FILES];
  int n_files = argc - 2;
  uint64_t n = UINT64_MAX;

  setvbuf (stdout, NULL, _IOLBF, 0);
  if (n_files < 1 || n_files > MAX_FILES)
    return 2;
  for (int i = 0; i < n_files; i++) {
    fds[i] = open (argv[i + 2], O_RDWR | O_DIRECT | O_DSYNC);
    if (fds[i] < 0)
      give_up (argv[i + 2]);
    uint64_t newest = newest_record (fds[i]);
    n = newest < n ? newest : n;
  }
  printf ("WRITER READY %llu\n", (unsigned long long) n);
  for (;;) {
    fill_record (++n);
    for (int i = 0; i < n_files; i++)
      if (pwrite (fds[i], record, RECORD_SIZE,
                  (off_t) (n % N_SLOTS) * RECORD_SIZE)
          != RECORD_SIZE)
        give_up (argv[i + 2]);
    report (n);
    usleep ((useconds_t) atoi (argv[1]));
  }
}
