/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * measure FILE PROGRAM [ARGUMENT…]: run a program and write to FILE what it
 * took: "SECONDS USER SYSTEM MAX_RSS_KIB".
 *
 * Started from an interpreter, a program inherits the interpreter's peak
 * memory as its own; this one is small enough not to show.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static double
seconds (struct timeval time)
{
  return time.tv_sec + time.tv_usec / 1e6;
}

static int
fail (const char *object)
{
  fprintf (stderr, "measure: %s: %s\n", object, strerror (errno));
  return 125;
}

static int
write_result (const char *path, double elapsed, const struct rusage *usage)
{
  FILE *file = fopen (path, "w");

  if (file == NULL)
    return fail (path);
  fprintf (file, "%.6f %.6f %.6f %ld\n", elapsed, seconds (usage->ru_utime),
           seconds (usage->ru_stime), usage->ru_maxrss);
  return fclose (file) == 0 ? 0 : fail (path);
}

int
main (int argc, char **argv)
{
  struct rusage usage;
  double start = now ();
  int status, written;
  pid_t pid;

  if (argc < 3) {
    fprintf (stderr, "usage: measure FILE PROGRAM [ARGUMENT…]\n");
    return 125;
  }
  pid = fork ();
  if (pid < 0)
    return fail ("fork");
  if (pid == 0) {
    execvp (argv[2], argv + 2);
    _exit (fail (argv[2]));
  }
  while (wait4 (pid, &status, 0, &usage) < 0)
    if (errno != EINTR)
      return fail ("wait");
  written = write_result (argv[1], now () - start, &usage);
  if (written != 0)
    return written;
  return WIFEXITED (status) ? WEXITSTATUS (status) : 128 + WTERMSIG (status);
}
