/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A library to preload: before every RUN_EVERY'th search of a btrfs tree, the
 * shell command RUN is run to its end.  So things happen in the middle of a
 * comparison that otherwise have to be waited for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/btrfs.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_int n_searches;

static void
run_if_due (void)
{
  const char *every = getenv ("RUN_EVERY");
  const char *command = getenv ("RUN");

  if (every == NULL || command == NULL
      || (atomic_fetch_add (&n_searches, 1) + 1) % atoi (every) != 0)
    return;
  if (system (command) != 0)
    abort ();
}

int
ioctl (int fd, unsigned long request, ...)
{
  int (*next) (int, unsigned long, ...) =
      (int (*) (int, unsigned long, ...)) dlsym (RTLD_NEXT, "ioctl");
  va_list rest;
  void *argument;

  va_start (rest, request);
  argument = va_arg (rest, void *);
  va_end (rest);
  if (request == BTRFS_IOC_TREE_SEARCH_V2)
    run_if_due ();
  return next (fd, request, argument);
}
