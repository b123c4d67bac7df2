/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/parent.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"

int
cli_parent_open (GError **error)
{
  pid_t parent = getppid ();
  int fd = syscall (SYS_pidfd_open, parent, 0);

  if (fd < 0 && errno != ESRCH) {
    snap_error_set_errno (error, errno, "process %d: watch", (int) parent);
    return -1;
  }
  /* While it is our parent, nobody else has its number. */
  if (fd >= 0 && getppid () == parent)
    return fd;
  if (fd >= 0)
    close (fd);
  snap_error_set (error, SNAP_ERROR_CANCELLED,
                  "process %d: the parent has ended", (int) parent);
  return -1;
}
