/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "guard/relay.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qmp/json.h"
#include "qmp/libvirt.h"
#include "snapshot-core/base/error.h"

#define GREETING                                                       \
  "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":0,\"major\"" \
  ":0},\"package\":\"\"},\"capabilities\":[]}}\n"

/* Half a message before it is void. */
#define DELIMITER '\xff'

#define MAX_LINE (1024 * 1024)

/* How long the agent may take to say that it is there. */
#define PING_S 5

/* How often to try to let a guest go that nobody else can: ten minutes. */
#define N_TRIES 1200
#define TRY_US (500 * 1000)

typedef struct _Side Side;

/* One of the two conversations, in a thread of its own. */
struct _Side {
  int fd;
  const char *greeting; /* or NULL */
  QmpDomain *domain;
  gboolean is_held; /* the guest, by us: stopped, or frozen */

  /* What is answered, as text, or NULL: nothing. */
  char *(*answer) (Side *self, const char *line);
  gboolean (*let_go) (QmpDomain *domain, GError **error);
};

/* ---- JSON ---- */

static char *
to_text (JsonObject *object)
{
  JsonNode *node = json_node_init_object (json_node_alloc (), object);
  char *text = json_to_string (node, FALSE);

  json_node_unref (node);
  return text;
}

/* Takes @value; @id may be NULL. */
static char *
format_return (JsonNode *value, JsonNode *id)
{
  g_autoptr (JsonObject) answer = json_object_new ();

  json_object_set_member (answer, "return", value);
  if (id != NULL)
    json_object_set_member (answer, "id", json_node_copy (id));
  return to_text (answer);
}

static char *
format_error (const char *class, const char *text, JsonNode *id)
{
  g_autoptr (JsonObject) answer = json_object_new ();
  JsonObject *error = json_object_new ();

  json_object_set_string_member (error, "class", class);
  json_object_set_string_member (error, "desc", text);
  json_object_set_object_member (answer, "error", error);
  if (id != NULL)
    json_object_set_member (answer, "id", json_node_copy (id));
  return to_text (answer);
}

static char *
format_failure (const GError *reason, JsonNode *id)
{
  return format_error ("GenericError", reason->message, id);
}

static JsonNode *
nothing (void)
{
  return json_node_init_object (json_node_alloc (), json_object_new ());
}

static JsonNode *
number (gint64 value)
{
  return json_node_init_int (json_node_alloc (), value);
}

/* What somebody else was answered, with our id. */
static char *
readdress (const char *text, JsonNode *id)
{
  g_autoptr (JsonNode) root = json_from_string (text, NULL);
  JsonObject *object = qmp_json_as_object (root);

  if (object == NULL)
    return format_error ("GenericError", "libvirt gives no answer", id);
  json_object_remove_member (object, "id");
  if (id != NULL)
    json_object_set_member (object, "id", json_node_copy (id));
  return to_text (object);
}

static char *
to_line (const char *command)
{
  g_autoptr (JsonObject) object = json_object_new ();

  json_object_set_string_member (object, "execute", command);
  return to_text (object);
}

/* ---- holding the guest ---- */

/* Nobody waits any more for what would keep it still. */
static gboolean
is_abandoned (const Side *self)
{
  struct pollfd end = { .fd = self->fd, .events = POLLRDHUP };

  return poll (&end, 1, 0) > 0
         && (end.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* An outcome as an answer; takes @value and @reason. */
static char *
conclude (gboolean done, JsonNode *value, GError *reason, JsonNode *id)
{
  char *text;

  if (done)
    return format_return (value, id);
  text = format_failure (reason, id);
  json_node_unref (value);
  g_error_free (reason);
  return text;
}

/* Of a domain that runs no more, nothing stands still. */
static char *
release (Side *self, JsonNode *id)
{
  GError *reason = NULL;
  gboolean done = self->let_go (self->domain, &reason);

  if (done || g_error_matches (reason, QMP_ERROR, QMP_ERROR_GONE))
    self->is_held = FALSE;
  return conclude (done, nothing (), reason, id);
}

/* ---- the monitor ---- */

static char *
stop (Side *self, JsonNode *id)
{
  GError *reason = NULL;
  gboolean done;

  if (is_abandoned (self))
    return NULL;
  self->is_held = TRUE;
  done = qmp_domain_suspend (self->domain, &reason);
  return conclude (done, nothing (), reason, id);
}

/* Of a domain that runs no more, as QEMU would say it if it could. */
static char *
say_shutdown (JsonNode *id)
{
  JsonObject *status = json_object_new ();

  json_object_set_string_member (status, "status", "shutdown");
  json_object_set_boolean_member (status, "running", FALSE);
  return format_return (json_node_init_object (json_node_alloc (), status), id);
}

/* Handed on without its id, which is ours. */
static char *
query (Side *self, JsonObject *command, JsonNode *id)
{
  gboolean is_status =
      g_str_equal (qmp_json_string (command, "execute"), "query-status");
  g_autoptr (GError) reason = NULL;
  g_autofree char *line = NULL;
  g_autofree char *answer = NULL;

  json_object_remove_member (command, "id");
  line = to_text (command);
  answer = qmp_domain_ask_monitor (self->domain, line, &reason);
  if (answer != NULL)
    return readdress (answer, id);
  if (is_status && g_error_matches (reason, QMP_ERROR, QMP_ERROR_GONE))
    return say_shutdown (id);
  return format_failure (reason, id);
}

static char *
answer_monitor (Side *self, const char *line)
{
  g_autoptr (JsonNode) root = json_from_string (line, NULL);
  JsonObject *object = qmp_json_as_object (root);
  const char *command =
      object != NULL ? qmp_json_string (object, "execute") : NULL;
  g_autoptr (JsonNode) id =
      object != NULL && json_object_has_member (object, "id")
          ? json_object_dup_member (object, "id")
          : NULL;

  if (command == NULL)
    return format_error ("GenericError", "no command", id);
  if (g_str_equal (command, "qmp_capabilities"))
    return format_return (nothing (), id);
  if (g_str_equal (command, "stop"))
    return stop (self, id);
  if (g_str_equal (command, "cont"))
    return release (self, id);
  if (g_str_has_prefix (command, "query-"))
    return query (self, object, id);
  return format_error ("CommandNotFound",
                       "is not done behind the back of libvirt", id);
}

/* ---- the agent ---- */

/* An agent that is not there is one that does not answer. */
static char *
sync_agent (Side *self, JsonObject *command)
{
  g_autofree char *ping = to_line ("guest-ping");
  g_autofree char *pong =
      qmp_domain_ask_agent (self->domain, ping, PING_S, NULL);
  JsonObject *arguments = qmp_json_object (command, "arguments");
  g_autofree char *text = NULL;

  if (pong == NULL || arguments == NULL)
    return NULL;
  text = format_return (number (qmp_json_size (arguments, "id", 0)), NULL);
  return g_strdup_printf ("%c%s", DELIMITER, text);
}

static char *
freeze (Side *self)
{
  GError *reason = NULL;
  guint n_frozen = 0;
  gboolean done;

  if (is_abandoned (self))
    return NULL;
  self->is_held = TRUE;
  done = qmp_domain_freeze (self->domain, &n_frozen, &reason);
  return conclude (done, number (n_frozen), reason, NULL);
}

static char *
ask_status (Side *self)
{
  g_autoptr (GError) reason = NULL;
  g_autofree char *line = to_line ("guest-fsfreeze-status");
  g_autofree char *answer =
      qmp_domain_ask_agent (self->domain, line, PING_S, &reason);

  return answer != NULL ? readdress (answer, NULL)
                        : format_failure (reason, NULL);
}

static char *
answer_agent (Side *self, const char *line)
{
  g_autoptr (JsonNode) root = json_from_string (line, NULL);
  JsonObject *object = qmp_json_as_object (root);
  const char *command =
      object != NULL ? qmp_json_string (object, "execute") : NULL;

  if (command == NULL)
    return format_error ("GenericError", "no command", NULL);
  if (g_str_equal (command, "guest-sync-delimited"))
    return sync_agent (self, object);
  if (g_str_equal (command, "guest-fsfreeze-freeze"))
    return freeze (self);
  if (g_str_equal (command, "guest-fsfreeze-thaw"))
    return release (self, NULL);
  if (g_str_equal (command, "guest-fsfreeze-status"))
    return ask_status (self);
  return format_error ("CommandNotFound", "is not passed on to the agent",
                       NULL);
}

/* "prelaunch": it was reset while it stood still. */
static gboolean
stands_still (JsonObject *status)
{
  const char *word = qmp_json_string (status, "status");

  return g_strcmp0 (word, "paused") == 0 || g_strcmp0 (word, "prelaunch") == 0;
}

/* libvirt does not resume what runs.  The monitor is asked, in the order of
   all that libvirt does with it. */
static gboolean
resume (QmpDomain *domain, GError **error)
{
  g_autofree char *line = to_line ("query-status");
  g_autofree char *answer = qmp_domain_ask_monitor (domain, line, error);
  g_autoptr (JsonNode) root =
      answer != NULL ? json_from_string (answer, NULL) : NULL;
  JsonObject *object = qmp_json_as_object (root);
  JsonObject *value =
      object != NULL ? qmp_json_object (object, "return") : NULL;

  if (answer == NULL)
    return FALSE;
  if (value == NULL)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "query-status: no answer from libvirt");
  return !stands_still (value) || qmp_domain_resume (domain, error);
}

/* ---- a conversation ---- */

static void
say (const Side *self, const char *text)
{
  gsize left = strlen (text);
  gssize n;

  while (left > 0) {
    n = send (self->fd, text, left, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return;
    text += n;
    left -= (gsize) n;
  }
}

static void
take_line (Side *self, const char *line)
{
  const char *mark = strrchr (line, DELIMITER);
  g_autofree char *answer = NULL;

  if (mark != NULL)
    line = mark + 1;
  if (line[strspn (line, " \r")] == '\0')
    return;
  answer = self->answer (self, line);
  if (answer == NULL)
    return;
  say (self, answer);
  say (self, "\n");
}

static void
take_lines (Side *self, GString *received)
{
  char *end;

  while ((end = strchr (received->str, '\n')) != NULL) {
    *end = '\0';
    take_line (self, received->str);
    g_string_erase (received, 0, (gssize) (end - received->str) + 1);
  }
}

/* Until nobody holds the other end. */
static void
converse (Side *self)
{
  g_autoptr (GString) received = g_string_new (NULL);
  char piece[4096];
  gssize n;

  if (self->greeting != NULL)
    say (self, self->greeting);
  do {
    n = read (self->fd, piece, sizeof piece);
    if (n > 0)
      g_string_append_len (received, piece, n);
    take_lines (self, received);
  } while ((n > 0 && received->len < MAX_LINE) || (n < 0 && errno == EINTR));
}

/* Nobody else is left who could. */
static void
undo (Side *self)
{
  for (guint i = 0; self->is_held && i < N_TRIES; i++) {
    g_autofree char *ignored = release (self, NULL);

    if (self->is_held)
      g_usleep (TRY_US);
  }
}

static gpointer
run (gpointer data)
{
  Side *self = data;

  converse (self);
  undo (self);
  return NULL;
}

/* ---- QEMU's process ---- */

static gboolean
has_word (const char *text, gsize length, const char *word)
{
  for (gsize at = 0; at < length; at += strlen (text + at) + 1)
    if (g_str_equal (text + at, word))
      return TRUE;
  return FALSE;
}

/* It bears the domain's UUID on its command line. */
static int
find_qemu (const char *uuid)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc", 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename ("/proc", name, "cmdline", NULL);
    g_autofree char *text = NULL;
    gsize length;

    if (g_ascii_isdigit (name[0])
        && g_file_get_contents (path, &text, &length, NULL)
        && has_word (text, length, "-uuid") && has_word (text, length, uuid))
      return atoi (name);
  }
  return 0;
}

/* ---- the program ---- */

static void
hold_off_signals (void)
{
  static const int all[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE,
                             SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP };

  for (gsize i = 0; i < G_N_ELEMENTS (all); i++)
    signal (all[i], SIG_IGN);
}

static int
refuse (const GError *reason)
{
  SnapError code = SNAP_ERROR_IO;

  if (reason->domain == SNAP_ERROR)
    code = (SnapError) reason->code;
  else if (g_error_matches (reason, QMP_ERROR, QMP_ERROR_GONE))
    code = SNAP_ERROR_NOT_FOUND;
  printf (RELAY_FAILED "%d %s\n", (int) code, reason->message);
  return 1;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Side sides[] = {
    { .fd = RELAY_MONITOR_FD,
      .greeting = GREETING,
      .answer = answer_monitor,
      .let_go = resume },
    { .fd = RELAY_AGENT_FD, .answer = answer_agent, .let_go = qmp_domain_thaw },
  };
  GThread *agent;
  const char *uri;

  if (argc != 3) {
    fprintf (stderr, RELAY_PROGRAM ": is started by nbdsnap, not by hand\n");
    return 2;
  }
  hold_off_signals ();
  uri = argv[1][0] != '\0' ? argv[1] : NULL;
  for (gsize i = 0; i < G_N_ELEMENTS (sides); i++) {
    sides[i].domain = qmp_domain_open (uri, argv[2], &error);
    if (sides[i].domain == NULL)
      return refuse (error);
  }
  printf (RELAY_READY "%d\n", find_qemu (qmp_domain_uuid (sides[0].domain)));
  fflush (stdout);
  agent = g_thread_new ("agent", run, &sides[1]);
  run (&sides[0]);
  g_thread_join (agent);
  for (gsize i = 0; i < G_N_ELEMENTS (sides); i++)
    qmp_domain_close (sides[i].domain);
  return 0;
}
