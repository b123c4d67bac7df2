/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that can be quieted and let go again: the one table behind which a
 * guest reached through its sockets and one reached through libvirt look the
 * same.
 *
 * Nothing here remembers: what state the guest was in before is the caller's
 * to know, and to hand to qmp_guest_release().
 *
 * Threads: one at a time.  Time in milliseconds.
 */
#ifndef QMP_GUEST_H
#define QMP_GUEST_H

#include "qmp/agent.h"
#include "qmp/client.h"

typedef struct _QmpGuest QmpGuest;

typedef enum {
  QMP_GUEST_RUNNING,
  QMP_GUEST_PAUSED, /* by a stop, which a cont ends; it may have been reset
                       meanwhile */
  QMP_GUEST_HALTED, /* its own trouble, or a migration: a cont is not ours to
                       give */
  QMP_GUEST_OFF,    /* shut down: nothing of it stands still */
} QmpGuestState;

/* Embedded first in the struct of each kind. */
typedef struct {
  gboolean (*state) (QmpGuest *self, guint timeout_ms, QmpGuestState *state,
                     GError **error);
  gboolean (*stop) (QmpGuest *self, guint timeout_ms, GError **error);
  gboolean (*cont) (QmpGuest *self, guint timeout_ms, GError **error);
  /* *n_frozen: file systems.  On TIMEOUT the guest may still freeze later. */
  gboolean (*freeze) (QmpGuest *self, guint timeout_ms, guint *n_frozen,
                      GError **error);
  gboolean (*thaw) (QmpGuest *self, guint timeout_ms, GError **error);
  /* After everything that was sent before. */
  gboolean (*is_frozen) (QmpGuest *self, guint timeout_ms, gboolean *frozen,
                         GError **error);
  /* Whether it is known to have been reset since it was frozen: then nothing of
     it is frozen any more.  NULL: never known. */
  gboolean (*was_reset) (QmpGuest *self);
  /* A QMP command of a cut. */
  JsonNode *(*execute) (QmpGuest *self, const char *command,
                        JsonObject *arguments, guint timeout_ms,
                        GError **error);
  void (*free) (QmpGuest *self);
} QmpGuestOps;

struct _QmpGuest {
  const QmpGuestOps *ops;
};

/*
 * Over connections of the caller, borrowed.  Either may be NULL: what needs it
 * is QMP_ERROR_GONE then.
 */
QmpGuest *qmp_guest_new (QmpClient *client, QmpAgent *agent);
void qmp_guest_free (QmpGuest *self);

/* The op, where there is one. */
gboolean qmp_guest_was_reset (QmpGuest *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpGuest, qmp_guest_free)

/* What was, or may have been, done to a guest. */
typedef enum {
  QMP_QUIET_STOPPED = 1 << 0, /* it ran, and a stop was sent */
  QMP_QUIET_FROZEN = 1 << 1,  /* a freeze was sent */
} QmpQuiet;

/*
 * Let the guest go and see that it went: cont if it stands paused (its agent
 * is deaf until then), thaw until its agent says "thawed", waiting for one
 * that freezes late.  Tries again until @patience_ms are over, but once at
 * least.  Nothing may cancel it: take cancellables off the connections before.
 *
 * Idempotent.  A QEMU that is gone, and a guest that is shut down, have nothing
 * that stands still: TRUE.  QEMU is gone when all its sockets are closed.  A
 * guest that was reset only needs the cont.
 *
 * Errors: the last one that stood in the way; the guest may stand still.
 */
gboolean qmp_guest_release (QmpGuest *self, QmpQuiet what, guint patience_ms,
                            GError **error);

#endif
