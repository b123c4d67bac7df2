/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/guest.h"
#include "tests/unit/qmp-peer.h"

/* ---- a guest that does as it is told by a test ---- */

#define NO_ERROR (-1)

typedef struct {
  QmpGuest base;
  GString *log;
  QmpGuestState state;
  gboolean frozen;
  int monitor, agent;           /* what everything of them fails with */
  int refused;                  /* what a thaw fails with */
  guint deaf_conts, deaf_thaws; /* that do nothing */
} Fake;

static gboolean
begin (Fake *self, const char *word, int code, GError **error)
{
  g_string_append_printf (self->log, "%s ", word);
  if (code == NO_ERROR)
    return TRUE;
  return qmp_error_set (error, (QmpError) code, "%s", word);
}

static gboolean
fake_state (QmpGuest *base, guint timeout_ms, QmpGuestState *state,
            GError **error)
{
  Fake *self = (Fake *) base;

  *state = self->state;
  return begin (self, "state", self->monitor, error);
}

static gboolean
fake_cont (QmpGuest *base, guint timeout_ms, GError **error)
{
  Fake *self = (Fake *) base;

  if (!begin (self, "cont", self->monitor, error))
    return FALSE;
  if (self->deaf_conts > 0)
    self->deaf_conts--;
  else
    self->state = QMP_GUEST_RUNNING;
  return TRUE;
}

/* The agent of a guest that stands still is deaf. */
static int
agent_code (const Fake *self)
{
  return self->agent == NO_ERROR && self->state != QMP_GUEST_RUNNING
             ? (int) QMP_ERROR_TIMEOUT
             : self->agent;
}

static gboolean
fake_thaw (QmpGuest *base, guint timeout_ms, GError **error)
{
  Fake *self = (Fake *) base;

  if (!begin (self, "thaw", agent_code (self), error))
    return FALSE;
  if (self->refused != NO_ERROR)
    return qmp_error_set (error, (QmpError) self->refused, "refused");
  if (self->deaf_thaws > 0)
    self->deaf_thaws--;
  else
    self->frozen = FALSE;
  return TRUE;
}

static gboolean
fake_is_frozen (QmpGuest *base, guint timeout_ms, gboolean *frozen,
                GError **error)
{
  Fake *self = (Fake *) base;

  *frozen = self->frozen;
  return begin (self, "frozen?", agent_code (self), error);
}

static const QmpGuestOps fake_ops = {
  .state = fake_state,
  .cont = fake_cont,
  .thaw = fake_thaw,
  .is_frozen = fake_is_frozen,
};

static void
fake_init (Fake *self, QmpGuestState state, gboolean frozen)
{
  *self = (Fake){ .base.ops = &fake_ops,
                  .log = g_string_new (NULL),
                  .state = state,
                  .frozen = frozen,
                  .monitor = NO_ERROR,
                  .agent = NO_ERROR,
                  .refused = NO_ERROR };
}

#define BOTH (QMP_QUIET_STOPPED | QMP_QUIET_FROZEN)

static void
assert_released (Fake *self, QmpQuiet what, const char *log)
{
  g_autoptr (GError) error = NULL;

  qmp_guest_release (&self->base, what, LONG_MS, &error);
  g_assert_no_error (error);
  if (log != NULL)
    g_assert_cmpstr (self->log->str, ==, log);
  g_string_free (self->log, TRUE);
}

static void
assert_stuck (Fake *self, QmpQuiet what, int code, const char *first_try)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (qmp_guest_release (&self->base, what, SHORT_MS, &error));
  g_assert_error (error, QMP_ERROR, code);
  g_assert_true (g_str_has_prefix (self->log->str, first_try));
  g_string_free (self->log, TRUE);
}

/* ---- release ---- */

static void
test_runs_before_it_thaws (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_PAUSED, TRUE);
  assert_released (&fake, BOTH, "state cont state thaw frozen? ");
  g_assert_false (fake.frozen);
  g_assert_cmpint (fake.state, ==, QMP_GUEST_RUNNING);
}

static void
test_a_guest_that_is_free_is_left_alone (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_RUNNING, FALSE);
  assert_released (&fake, BOTH, "state thaw frozen? ");
  fake_init (&fake, QMP_GUEST_RUNNING, FALSE);
  assert_released (&fake, QMP_QUIET_STOPPED, "state ");
  fake_init (&fake, QMP_GUEST_PAUSED, FALSE);
  assert_released (&fake, 0, "");
}

static void
test_another_trouble_is_not_continued (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_HALTED, FALSE);
  assert_released (&fake, QMP_QUIET_STOPPED, "state ");
  fake_init (&fake, QMP_GUEST_HALTED, TRUE);
  assert_stuck (&fake, BOTH, QMP_ERROR_TIMEOUT, "state thaw frozen? state ");
}

static void
test_a_guest_that_is_off_is_not_frozen (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_OFF, TRUE);
  assert_released (&fake, BOTH, "state thaw frozen? state ");
}

static void
test_a_qemu_that_is_gone_stands_nowhere (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_PAUSED, TRUE);
  fake.monitor = fake.agent = QMP_ERROR_GONE;
  assert_released (&fake, BOTH, NULL);
  fake_init (&fake, QMP_GUEST_PAUSED, TRUE);
  fake.monitor = QMP_ERROR_GONE;
  assert_released (&fake, QMP_QUIET_STOPPED, "state ");
}

static void
test_half_a_qemu_that_is_gone_is_not_gone (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_RUNNING, TRUE);
  fake.monitor = QMP_ERROR_GONE;
  assert_released (&fake, BOTH, "state thaw frozen? ");
  g_assert_false (fake.frozen);
  fake_init (&fake, QMP_GUEST_RUNNING, TRUE);
  fake.agent = QMP_ERROR_GONE;
  assert_stuck (&fake, BOTH, QMP_ERROR_GONE, "state thaw ");
  fake_init (&fake, QMP_GUEST_RUNNING, TRUE);
  fake.monitor = QMP_ERROR_GONE;
  fake.agent = QMP_ERROR_TIMEOUT;
  assert_stuck (&fake, BOTH, QMP_ERROR_TIMEOUT, "state thaw ");
}

static void
test_a_monitor_that_hangs_is_no_release (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_PAUSED, TRUE);
  fake.monitor = QMP_ERROR_TIMEOUT;
  assert_stuck (&fake, BOTH, QMP_ERROR_TIMEOUT, "state state ");
}

static void
test_what_is_said_to_be_done_is_looked_at (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_PAUSED, TRUE);
  fake.deaf_conts = 1;
  fake.deaf_thaws = 2;
  assert_released (&fake, BOTH,
                   "state cont state state cont state thaw frozen? state "
                   "state thaw frozen? state state thaw frozen? ");
  fake_init (&fake, QMP_GUEST_RUNNING, TRUE);
  fake.deaf_thaws = 1000;
  assert_stuck (&fake, BOTH, QMP_ERROR_COMMAND, "state thaw frozen? ");
}

static void
test_a_thaw_that_is_refused_may_not_be_needed (void)
{
  Fake fake;

  fake_init (&fake, QMP_GUEST_RUNNING, FALSE);
  fake.refused = QMP_ERROR_NO_COMMAND;
  assert_released (&fake, BOTH, "state thaw frozen? ");
  fake_init (&fake, QMP_GUEST_RUNNING, TRUE);
  fake.refused = QMP_ERROR_NO_COMMAND;
  assert_stuck (&fake, BOTH, QMP_ERROR_NO_COMMAND, "state thaw frozen? ");
}

/* ---- over sockets ---- */

typedef struct {
  QmpPeer *monitor_peer, *agent_peer;
  QmpClient *client;
  QmpAgent *agent;
  QmpGuest *guest;
} Sockets;

static void
sockets_init (Sockets *self, QmpScript monitor, QmpScript agent)
{
  int fd;

  self->monitor_peer = qmp_peer_start (monitor, &fd);
  self->client = qmp_client_adopt (fd);
  self->agent_peer = qmp_peer_start (agent, &fd);
  self->agent = qmp_agent_adopt (fd);
  self->guest = qmp_guest_new (self->client, self->agent);
}

static void
sockets_clear (Sockets *self)
{
  qmp_guest_free (self->guest);
  qmp_client_close (self->client);
  qmp_agent_close (self->agent);
  qmp_peer_join (self->monitor_peer);
  qmp_peer_join (self->agent_peer);
}

static const char *const statuses[] = { "running",  "paused",      "shutdown",
                                        "io-error", "postmigrate", "unheard" };

static void
tell_statuses (QmpPeer *peer)
{
  for (gsize i = 0; i < G_N_ELEMENTS (statuses); i++) {
    g_autofree char *value =
        g_strdup_printf ("{\"status\": \"%s\"}", statuses[i]);

    qmp_peer_serve (peer, "query-status", value);
  }
  qmp_peer_serve (peer, "query-status", "{\"status\": 1}");
  qmp_peer_serve (peer, "query-status", "[]");
  qmp_peer_serve (peer, "transaction", "{}");
}

static void
test_states_are_told_apart (void)
{
  static const QmpGuestState states[] = { QMP_GUEST_RUNNING, QMP_GUEST_PAUSED,
                                          QMP_GUEST_OFF,     QMP_GUEST_HALTED,
                                          QMP_GUEST_HALTED,  QMP_GUEST_HALTED };
  Sockets self;
  QmpGuestState state;
  g_autoptr (JsonNode) answer = NULL;

  sockets_init (&self, tell_statuses, qmp_peer_await_end);
  for (gsize i = 0; i < G_N_ELEMENTS (states); i++) {
    g_assert_true (self.guest->ops->state (self.guest, LONG_MS, &state, NULL));
    g_assert_cmpint (state, ==, states[i]);
  }
  g_assert_false (self.guest->ops->state (self.guest, LONG_MS, &state, NULL));
  g_assert_false (self.guest->ops->state (self.guest, LONG_MS, &state, NULL));
  answer =
      self.guest->ops->execute (self.guest, "transaction", NULL, LONG_MS, NULL);
  g_assert_nonnull (answer);
  sockets_clear (&self);
}

static void
freeze_in_ways (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-fsfreeze-freeze", "{\"return\": 2}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-freeze", "{\"return\": -1}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-freeze", "{\"return\": {}}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"frozen\"}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"perhaps\"}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status", "{\"return\": 1}");
}

static void
test_odd_answers_of_an_agent_are_refused (void)
{
  Sockets self;
  guint n = 0;
  gboolean frozen = FALSE;

  sockets_init (&self, qmp_peer_await_end, freeze_in_ways);
  g_assert_true (self.guest->ops->freeze (self.guest, LONG_MS, &n, NULL));
  g_assert_cmpuint (n, ==, 2);
  g_assert_false (self.guest->ops->freeze (self.guest, LONG_MS, &n, NULL));
  g_assert_false (self.guest->ops->freeze (self.guest, LONG_MS, &n, NULL));
  g_assert_true (
      self.guest->ops->is_frozen (self.guest, LONG_MS, &frozen, NULL));
  g_assert_true (frozen);
  g_assert_false (
      self.guest->ops->is_frozen (self.guest, LONG_MS, &frozen, NULL));
  g_assert_false (
      self.guest->ops->is_frozen (self.guest, LONG_MS, &frozen, NULL));
  sockets_clear (&self);
}

static void
stop_and_continue (QmpPeer *peer)
{
  qmp_peer_serve (peer, "stop", "{}");
  qmp_peer_serve (peer, "query-status", "{\"status\": \"paused\"}");
  qmp_peer_serve (peer, "cont", "{}");
  qmp_peer_serve (peer, "query-status", "{\"status\": \"running\"}");
}

/* The freeze is done after the first sync behind it has timed out. */
static void
freeze_late (QmpPeer *peer)
{
  qmp_peer_sync (peer);
  qmp_peer_hear_command (peer, "guest-fsfreeze-freeze");
  qmp_peer_hear_command (peer, "guest-sync-delimited");
  qmp_peer_say (peer, "{\"return\": 3}\n");
  qmp_peer_sync (peer);
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"frozen\"}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-thaw", "{\"return\": 3}");
  qmp_peer_serve_agent (peer, "guest-fsfreeze-status",
                        "{\"return\": \"thawed\"}");
}

static void
test_a_late_freeze_is_thawed (void)
{
  Sockets self;
  g_autoptr (GError) error = NULL;
  guint n;

  sockets_init (&self, qmp_peer_await_end, freeze_late);
  g_assert_true (qmp_agent_sync (self.agent, LONG_MS, NULL));
  g_assert_false (self.guest->ops->freeze (self.guest, SHORT_MS, &n, &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_TIMEOUT);
  g_assert_true (
      qmp_guest_release (self.guest, QMP_QUIET_FROZEN, LONG_MS, NULL));
  sockets_clear (&self);
}

static void
test_a_stop_is_released_over_a_socket (void)
{
  Sockets self;

  sockets_init (&self, stop_and_continue, qmp_peer_await_end);
  g_assert_true (self.guest->ops->stop (self.guest, LONG_MS, NULL));
  g_assert_true (
      qmp_guest_release (self.guest, QMP_QUIET_STOPPED, LONG_MS, NULL));
  sockets_clear (&self);
}

static void
leave (QmpPeer *peer)
{
}

static void
test_closed_sockets_are_released (void)
{
  Sockets self;

  sockets_init (&self, leave, leave);
  g_assert_true (qmp_guest_release (self.guest, BOTH, LONG_MS, NULL));
  sockets_clear (&self);
}

static void
test_what_is_not_there_is_gone (void)
{
  g_autoptr (QmpGuest) guest = qmp_guest_new (NULL, NULL);
  g_autoptr (GError) error = NULL;
  QmpGuestState state;

  g_assert_false (guest->ops->state (guest, LONG_MS, &state, &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_GONE);
  g_clear_error (&error);
  g_assert_false (guest->ops->thaw (guest, LONG_MS, &error));
  g_assert_error (error, QMP_ERROR, QMP_ERROR_GONE);
  g_assert_null (
      guest->ops->execute (guest, "stop", json_object_new (), LONG_MS, NULL));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/qmp/guest/" name, func)
  ADD ("runs-before-it-thaws", test_runs_before_it_thaws);
  ADD ("a-guest-that-is-free-is-left-alone",
       test_a_guest_that_is_free_is_left_alone);
  ADD ("another-trouble-is-not-continued",
       test_another_trouble_is_not_continued);
  ADD ("a-guest-that-is-off-is-not-frozen",
       test_a_guest_that_is_off_is_not_frozen);
  ADD ("a-qemu-that-is-gone-stands-nowhere",
       test_a_qemu_that_is_gone_stands_nowhere);
  ADD ("half-a-qemu-that-is-gone-is-not-gone",
       test_half_a_qemu_that_is_gone_is_not_gone);
  ADD ("a-monitor-that-hangs-is-no-release",
       test_a_monitor_that_hangs_is_no_release);
  ADD ("what-is-said-to-be-done-is-looked-at",
       test_what_is_said_to_be_done_is_looked_at);
  ADD ("a-thaw-that-is-refused-may-not-be-needed",
       test_a_thaw_that_is_refused_may_not_be_needed);
  ADD ("states-are-told-apart", test_states_are_told_apart);
  ADD ("odd-answers-of-an-agent-are-refused",
       test_odd_answers_of_an_agent_are_refused);
  ADD ("a-late-freeze-is-thawed", test_a_late_freeze_is_thawed);
  ADD ("a-stop-is-released-over-a-socket",
       test_a_stop_is_released_over_a_socket);
  ADD ("closed-sockets-are-released", test_closed_sockets_are_released);
  ADD ("what-is-not-there-is-gone", test_what_is_not_there_is_gone);
#undef ADD
  return g_test_run ();
}
