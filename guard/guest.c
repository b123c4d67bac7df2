/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <fcntl.h>
#include <json-glib/json-glib.h>

#include "guard/guard.h"
#include "qmp/guest.h"
#include "snapshot-core/base/error.h"

struct _GuardCommand {
  char *name;
  JsonObject *arguments; /* or NULL */
};

struct _GuardGuest {
  const SnapWindow *window;
  const GPtrArray *commands;
  GuardNotes *notes;
  QmpClient *client;
  QmpAgent *agent; /* or NULL */
  QmpGuest *guest; /* over both */
  gint64 stop_us, freeze_us;
};

/* ---- commands ---- */

static void
command_free (GuardCommand *self)
{
  g_free (self->name);
  g_clear_pointer (&self->arguments, json_object_unref);
  g_free (self);
}

static JsonNode *
member_of (JsonNode *node, const char *name, JsonNodeType type)
{
  JsonNode *member =
      JSON_NODE_HOLDS_OBJECT (node)
          ? json_object_get_member (json_node_get_object (node), name)
          : NULL;

  return member != NULL && json_node_get_node_type (member) == type ? member
                                                                    : NULL;
}

static GuardCommand *
parse_command (const char *text)
{
  g_autoptr (JsonNode) root = json_from_string (text, NULL);
  JsonNode *name;
  JsonNode *arguments;
  GuardCommand *self;

  if (root == NULL)
    return NULL;
  name = member_of (root, "execute", JSON_NODE_VALUE);
  arguments = member_of (root, "arguments", JSON_NODE_OBJECT);
  if (name == NULL || json_node_get_value_type (name) != G_TYPE_STRING)
    return NULL;
  self = g_new0 (GuardCommand, 1);
  self->name = json_node_dup_string (name);
  if (arguments != NULL)
    self->arguments = json_node_dup_object (arguments);
  return self;
}

GPtrArray *
guard_commands_parse (const SnapWindow *window, GError **error)
{
  g_autoptr (GPtrArray) commands =
      g_ptr_array_new_with_free_func ((GDestroyNotify) command_free);

  for (guint i = 0; i < window->commands->len; i++) {
    GuardCommand *command = parse_command (window->commands->pdata[i]);

    if (command == NULL) {
      snap_error_set (error, SNAP_ERROR_CORRUPT,
                      "window: command %u is not one of QMP", i + 1);
      return NULL;
    }
    g_ptr_array_add (commands, command);
  }
  return g_steal_pointer (&commands);
}

/* ---- the connections ---- */

static int
copy_of (int fd)
{
  return fcntl (fd, F_DUPFD_CLOEXEC, GUARD_FIRST_LOCK_FD);
}

GuardGuest *
guard_guest_open (const GuardTask *task)
{
  GuardGuest *self = g_new0 (GuardGuest, 1);

  self->window = task->window;
  self->commands = task->commands;
  self->notes = task->notes;
  self->client = qmp_client_adopt (copy_of (GUARD_QMP_FD));
  if (task->window->quiesce == SNAP_QUIESCE_AGENT)
    self->agent = qmp_agent_adopt (copy_of (GUARD_AGENT_FD));
  self->guest = qmp_guest_new (self->client, self->agent);
  return self;
}

void
guard_guest_close (GuardGuest *self)
{
  if (self == NULL)
    return;
  qmp_guest_free (self->guest);
  g_clear_pointer (&self->agent, qmp_agent_close);
  qmp_client_close (self->client);
  g_free (self);
}

static SnapError
code_of (const GError *reason)
{
  switch ((QmpError) reason->code) {
  case QMP_ERROR_BUSY:
    return SNAP_ERROR_BUSY;
  case QMP_ERROR_NO_COMMAND:
    return SNAP_ERROR_UNSUPPORTED;
  case QMP_ERROR_GONE:
  case QMP_ERROR_PROTOCOL:
    return SNAP_ERROR_IO;
  default:
    return SNAP_ERROR_FAILED;
  }
}

static gboolean
pass_on (GError **error, const GError *reason)
{
  return snap_error_set (error, code_of (reason), "guest: %s", reason->message);
}

static guint
left_ms (SnapDeadline deadline)
{
  return (guint) MAX (snap_deadline_left_ms (deadline), 1);
}

/* ---- before ---- */

/* Whether it is to be stopped, and frozen. */
static gboolean
is_to_quiet (const GuardGuest *self)
{
  return self->window->quiesce != SNAP_QUIESCE_NONE && self->window->running;
}

static gboolean
is_to_freeze (const GuardGuest *self)
{
  return self->window->quiesce == SNAP_QUIESCE_AGENT && self->window->running;
}

static gboolean
expect_running (GuardGuest *self, gboolean running, guint timeout_ms,
                GError **error)
{
  g_autoptr (GError) reason = NULL;
  QmpGuestState state;

  if (!self->guest->ops->state (self->guest, timeout_ms, &state, &reason))
    return pass_on (error, reason);
  if ((state == QMP_GUEST_RUNNING) == running)
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_BUSY,
                         "guest: was %s by somebody else",
                         running ? "stopped" : "continued");
}

/* What somebody else has frozen is not ours to thaw. */
static gboolean
expect_thawed (GuardGuest *self, GError **error)
{
  g_autoptr (GError) reason = NULL;
  gboolean frozen;

  if (!self->guest->ops->is_frozen (self->guest, QMP_AGENT_SYNC_MS, &frozen,
                                    &reason))
    return snap_error_set (error, code_of (reason), "guest agent: %s",
                           reason->message);
  return !frozen
         || snap_error_set (error, SNAP_ERROR_BUSY,
                            "guest: is frozen by somebody else");
}

gboolean
guard_guest_check (GuardGuest *self, GError **error)
{
  if (self->window->quiesce == SNAP_QUIESCE_NONE)
    return TRUE;
  return expect_running (self, self->window->running, QMP_COMMAND_MS, error)
         && (!is_to_freeze (self) || expect_thawed (self, error));
}

/* ---- the window ---- */

static void
note (GuardGuest *self, QmpQuiet what)
{
  g_atomic_int_or (&self->notes->quiet, what);
}

static void
clear (GuardGuest *self, QmpQuiet what)
{
  g_atomic_int_and (&self->notes->quiet, ~(guint) what);
}

/* An agent that does not let us freeze has frozen nothing, and if another
   client of it has, that is not ours to thaw. */
static gboolean
freeze (GuardGuest *self, SnapDeadline deadline, GError **error)
{
  g_autoptr (GError) reason = NULL;
  guint n_frozen;

  self->freeze_us = g_get_monotonic_time ();
  note (self, QMP_QUIET_FROZEN);
  if (self->guest->ops->freeze (self->guest, left_ms (deadline), &n_frozen,
                                &reason))
    return TRUE;
  if (g_error_matches (reason, QMP_ERROR, QMP_ERROR_NO_COMMAND)) {
    clear (self, QMP_QUIET_FROZEN);
    if (!expect_thawed (self, error))
      return FALSE;
  }
  return pass_on (error, reason);
}

static gboolean
stop (GuardGuest *self, SnapDeadline deadline, GError **error)
{
  g_autoptr (GError) reason = NULL;

  if (!expect_running (self, TRUE, left_ms (deadline), error))
    return FALSE;
  self->stop_us = g_get_monotonic_time ();
  note (self, QMP_QUIET_STOPPED);
  return self->guest->ops->stop (self->guest, left_ms (deadline), &reason)
         || pass_on (error, reason);
}

gboolean
guard_guest_quiet (GuardGuest *self, SnapDeadline deadline, GError **error)
{
  return (!is_to_freeze (self) || freeze (self, deadline, error))
         && (!is_to_quiet (self) || stop (self, deadline, error));
}

gboolean
guard_guest_execute (GuardGuest *self, SnapDeadline deadline, GError **error)
{
  for (guint i = 0; i < self->commands->len; i++) {
    const GuardCommand *command = self->commands->pdata[i];
    g_autoptr (GError) reason = NULL;
    g_autoptr (JsonNode) value = self->guest->ops->execute (
        self->guest, command->name,
        command->arguments != NULL ? json_object_ref (command->arguments)
                                   : NULL,
        left_ms (deadline), &reason);

    if (value == NULL)
      return pass_on (error, reason);
  }
  return TRUE;
}

gboolean
guard_guest_check_still (GuardGuest *self, SnapDeadline deadline,
                         GError **error)
{
  return self->window->quiesce == SNAP_QUIESCE_NONE
         || expect_running (self, FALSE, left_ms (deadline), error);
}

/* ---- letting go ---- */

static gboolean
is_noted (const GuardGuest *self, QmpQuiet what)
{
  return (g_atomic_int_get (&self->notes->quiet) & what) != 0;
}

static gboolean
release (GuardGuest *self, QmpQuiet what, SnapDeadline deadline, GError **error)
{
  g_autoptr (GError) reason = NULL;

  if (!qmp_guest_release (self->guest, what, left_ms (deadline), &reason))
    return pass_on (error, reason);
  clear (self, what);
  return TRUE;
}

static guint64
since (gint64 start_us)
{
  return (guint64) (g_get_monotonic_time () - start_us);
}

/* Some guests thaw by themselves after a while, or froze nothing.  Half of the
   time is for letting it go all the same. */
static gboolean
is_still_frozen (GuardGuest *self, SnapDeadline deadline)
{
  gboolean frozen = FALSE;

  return self->guest->ops->is_frozen (self->guest, (left_ms (deadline) + 1) / 2,
                                      &frozen, NULL)
         && frozen;
}

gboolean
guard_guest_let_go (GuardGuest *self, SnapDeadline deadline, GuardTimes *times,
                    GError **error)
{
  gboolean held;

  if (is_noted (self, QMP_QUIET_STOPPED)) {
    if (!release (self, QMP_QUIET_STOPPED, deadline, error))
      return FALSE;
    times->stopped_us = since (self->stop_us);
  }
  if (!is_noted (self, QMP_QUIET_FROZEN))
    return TRUE;
  if (qmp_guest_was_reset (self->guest)) {
    clear (self, QMP_QUIET_FROZEN);
    return TRUE;
  }
  held = is_still_frozen (self, deadline);
  if (!release (self, QMP_QUIET_FROZEN, deadline, error))
    return FALSE;
  times->frozen_us = held ? since (self->freeze_us) : 0;
  return TRUE;
}
