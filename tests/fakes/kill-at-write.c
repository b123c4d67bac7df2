/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A library to preload: SIGKILL at the KILL_AT'th call that changes a file.
 *
 * Counts over all threads of the process, in the order in which they call, as
 * no tracer does.  For tests of what a killed tool leaves behind.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/uio.h>

static atomic_int n_calls;

static void
count (void)
{
  const char *limit = getenv ("KILL_AT");

  if (limit != NULL && atomic_fetch_add (&n_calls, 1) + 1 == atoi (limit))
    raise (SIGKILL);
}

/* Define NAME as a call of the next definition of it, counted. */
#define COUNTED(type, name, parameters, arguments)                            \
  type name parameters;                                                       \
  type name parameters                                                        \
  {                                                                           \
    type (*next) parameters = (type (*) parameters) dlsym (RTLD_NEXT, #name); \
                                                                              \
    count ();                                                                 \
    return next arguments;                                                    \
  }

COUNTED (ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t at),
         (fd, data, n, at))
COUNTED (ssize_t, pwritev64,
         (int fd, const struct iovec *parts, int n, off64_t at),
         (fd, parts, n, at))
COUNTED (int, fdatasync, (int fd), (fd))
COUNTED (int, fsync, (int fd), (fd))
COUNTED (int, fallocate64, (int fd, int mode, off64_t at, off64_t length),
         (fd, mode, at, length))
COUNTED (int, ftruncate64, (int fd, off64_t length), (fd, length))
