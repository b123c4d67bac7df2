/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Start, watch and reap one child process.
 *
 * An argument vector, never a shell; a process group of its own, so that a
 * terminal's Ctrl-C reaches us and not a tool in the middle of a write; all
 * descriptors closed but the ones named.
 */
#ifndef SNAP_OS_CHILD_H
#define SNAP_OS_CHILD_H

#include <glib.h>
#include <sys/types.h>

typedef struct {
  int parent_fd; /* borrowed */
  int child_fd;  /* what the child sees it as */
} SnapChildFd;

typedef struct {
  const char *const *argv; /* argv[0] is looked up in PATH */
  const SnapChildFd *fds;  /* 0, 1 and 2 default to /dev/null */
  gsize n_fds;
  /* "NAME=VALUE", NULL-terminated; NULL for ours with LC_ALL=C. */
  const char *const *environment;
  /* Pass LISTEN_FDS=n and LISTEN_PID=(the child) for descriptors 3 … 3+n-1,
     as sd_listen_fds(3) describes; 0 for none. */
  guint listen_fds;
  /* Kill the child when the calling thread ends: see os/keeper. */
  gboolean ends_with_thread;
} SnapChildSpec;

/*
 * Start a child.  Returns its pid, or -1.
 *
 * What LISTEN_FDS and its like say to us is not passed on.  Callable from a process with many
 * threads.  Errors: UNSUPPORTED (no such program), IO.
 */
pid_t snap_child_start (const SnapChildSpec *spec, GError **error);

/*
 * Whether a child ends by itself within @timeout_ms.  It still is to be
 * reaped.
 */
gboolean snap_child_wait (pid_t pid, guint timeout_ms);

/*
 * Wait for a child to end by itself for at most @timeout_ms, then SIGTERM, a
 * second of grace at most, and SIGKILL, both for its whole process group:
 * what it has started ends with it.  Always reaps.  Returns the wait status.
 */
int snap_child_reap (pid_t pid, guint timeout_ms);

/* "exited with 1", "was killed by signal 9 (Killed)"; the caller frees. */
char *snap_child_status_text (int wait_status);

#endif
