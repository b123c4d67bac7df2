/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of os/nbd-source share: a source, and libnbd.
 *
 *   nbd-source.c          servers that are started, connections
 *   nbd-source-request.c  what is asked over them
 */
#ifndef SNAP_OS_NBD_SOURCE_PRIVATE_H
#define SNAP_OS_NBD_SOURCE_PRIVATE_H

#include "snapshot-core/os/nbd-source.h"

#include <libnbd.h>
#include <sys/types.h>

#include "snapshot-core/os/keeper.h"
#include "snapshot-core/os/library.h"

#define SNAP_NBD_FUNCTIONS(F)   \
  F (nbd_add_meta_context)      \
  F (nbd_aio_block_status)      \
  F (nbd_aio_command_completed) \
  F (nbd_aio_connect_socket)    \
  F (nbd_aio_is_closed)         \
  F (nbd_aio_is_connecting)     \
  F (nbd_aio_is_dead)           \
  F (nbd_aio_is_ready)          \
  F (nbd_aio_pread)             \
  F (nbd_aio_zero)              \
  F (nbd_can_meta_context)      \
  F (nbd_close)                 \
  F (nbd_create)                \
  F (nbd_get_error)             \
  F (nbd_get_size)              \
  F (nbd_poll)                  \
  F (nbd_set_export_name)       \
  F (nbd_set_request_structured_replies)

typedef struct {
  SNAP_NBD_FUNCTIONS (SNAP_LIBRARY_POINTER)
} SnapNbdLibrary;

/* Loaded before the first source is made. */
extern SnapNbdLibrary snap_nbd_library;

struct _SnapNbdSource {
  char *name;
  char *program;      /* what serves: the last part of its argv[0] */
  SnapKeeper *server; /* NULL once it is reaped, or not ours */
  pid_t pid;
  guint end_ms; /* how long it may take to end by itself */
  int stderr_fd; /* a memory file that the server writes to, or -1 */
  guint64 size;
  guint patience_ms;  /* how long it may be silent over a read */
  int silent;         /* atomic: it was given up because it did not answer */
  GPtrArray *handles; /* of struct nbd_handle, all of them */
  GArray *sockets;    /* copies of their sockets, where the server is not our
                         child and cannot be ended */

  /* Borrowed handles that are free, or SELF once none is alive: whoever
     finds that puts it back for the next one, so that nobody waits for ever. */
  GAsyncQueue *idle;
  guint n_alive; /* atomic */
  char *ended;   /* why none is alive; set before SELF enters the queue */
};

/* Say how the server ended, reaping it; the caller frees. */
char *snap_nbd_source_describe_end (SnapNbdSource *self);

#endif
