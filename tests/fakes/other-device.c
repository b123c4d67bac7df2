/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A library to preload: files whose path contains ON_REALTIME_DEVICE are said
 * to have their data on the realtime device of an XFS file system.
 *
 * Few kernels can mount such a file system, and fewer can share blocks on it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
is_chosen (int fd)
{
  const char *word = getenv ("ON_REALTIME_DEVICE");
  char link[64];
  char path[4096] = "";

  snprintf (link, sizeof link, "/proc/self/fd/%d", fd);
  return word != NULL && readlink (link, path, sizeof path - 1) > 0
         && strstr (path, word) != NULL;
}

int
ioctl (int fd, unsigned long request, ...)
{
  int (*next) (int, unsigned long, ...) =
      (int (*) (int, unsigned long, ...)) dlsym (RTLD_NEXT, "ioctl");
  va_list rest;
  void *argument;
  int result;

  va_start (rest, request);
  argument = va_arg (rest, void *);
  va_end (rest);
  result = next (fd, request, argument);
  if (result == 0 && request == FS_IOC_FSGETXATTR && is_chosen (fd))
    ((struct fsxattr *) argument)->fsx_xflags |= FS_XFLAG_REALTIME;
  return result;
}
