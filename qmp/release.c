/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Letting a guest go, whatever state it is in and whatever was sent to it.
 *
 * Monitor and agent each run what they are sent in its order, also what is
 * sent over two connections.  So an answer tells that everything before it is
 * done: a late stop, or a late freeze, has come by then.
 */
#include "config.h"

#include "qmp/guest.h"

/* The first try's time for each thing asked; it doubles with every try.  Short,
   because an agent that was started anew has lost what it was asked. */
#define FIRST_STEP_MS 1000

/* How long to leave a guest alone that has refused. */
#define RETRY_US 50000

/* TRUE if no stop of ours holds it. */
static gboolean
let_run (QmpGuest *self, guint step_ms, GError **error)
{
  QmpGuestState state;

  if (!self->ops->state (self, step_ms, &state, error))
    return FALSE;
  if (state != QMP_GUEST_PAUSED)
    return TRUE;
  if (!self->ops->cont (self, step_ms, error)
      || !self->ops->state (self, step_ms, &state, error))
    return FALSE;
  if (state == QMP_GUEST_PAUSED)
    return qmp_error_set (error, QMP_ERROR_COMMAND,
                          "cont: the guest is still paused");
  return TRUE;
}

/* What counts is what the agent says afterwards: a thaw may be refused, and
   one that was refused may not have been needed. */
static gboolean
let_write (QmpGuest *self, guint step_ms, GError **error)
{
  g_autoptr (GError) refusal = NULL;
  gboolean frozen;

  self->ops->thaw (self, step_ms, &refusal);
  if (!self->ops->is_frozen (self, step_ms, &frozen, error))
    return FALSE;
  if (!frozen)
    return TRUE;
  if (refusal != NULL)
    g_propagate_error (error, g_steal_pointer (&refusal));
  else
    qmp_error_set (error, QMP_ERROR_COMMAND,
                   "guest-fsfreeze-thaw: the guest is still frozen");
  return FALSE;
}

static gboolean
is_gone (const GError *reason)
{
  return g_error_matches (reason, QMP_ERROR, QMP_ERROR_GONE);
}

/* Whether nothing of the guest as it was is left that could stand still, now
   that its agent has answered with @reason. */
static gboolean
is_no_more (QmpGuest *self, guint step_ms, const GError *reason)
{
  g_autoptr (GError) other = NULL;
  QmpGuestState state;

  if (self->ops->state (self, step_ms, &state, &other))
    return state == QMP_GUEST_OFF || qmp_guest_was_reset (self);
  return is_gone (reason) && is_gone (other);
}

static gboolean
try_release (QmpGuest *self, QmpQuiet what, guint step_ms, GError **error)
{
  g_autoptr (GError) reason = NULL;

  if ((what & QMP_QUIET_STOPPED) != 0 && !let_run (self, step_ms, &reason)
      && !is_gone (reason)) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  g_clear_error (&reason);
  if ((what & QMP_QUIET_FROZEN) == 0 || let_write (self, step_ms, &reason)
      || is_no_more (self, step_ms, reason))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&reason));
  return FALSE;
}

gboolean
qmp_guest_release (QmpGuest *self, QmpQuiet what, guint patience_ms,
                   GError **error)
{
  gint64 deadline_us = g_get_monotonic_time () + (gint64) patience_ms * 1000;
  gint64 step_ms = FIRST_STEP_MS, left_ms = patience_ms;

  for (;;) {
    g_autoptr (GError) reason = NULL;

    if (try_release (self, what, (guint) CLAMP (step_ms, 1, MAX (left_ms, 1)),
                     &reason))
      return TRUE;
    left_ms = (deadline_us - g_get_monotonic_time ()) / 1000;
    if (left_ms <= 0) {
      g_propagate_error (error, g_steal_pointer (&reason));
      return FALSE;
    }
    g_usleep (RETRY_US);
    step_ms *= 2;
  }
}
