/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include <string.h>
#include <sys/resource.h>

#include "cli/announce.h"
#include "cli/confine.h"
#include "cli/output.h"
#include "cli/serve-watch.h"
#include "cli/service-manager.h"
#include "cli/tls.h"
#include "nbd-server/server.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/service/reference.h"

/* How long a client may take for the replies to what it asked for. */
#define GRACE_MS 10000

/* The most that options may say. */
#define MAX_CONNECTIONS 65536
#define MAX_TIMEOUT_S (24 * 60 * 60)

static char **listen_addresses;
static char *socket_path;
static int port = -1;
static int max_connections;
static int timeout_s;
static gboolean with_parent;
static gboolean keep_cache;
static char *metrics;
static char *user_text;
static gboolean confine;
static CliServiceManager manager;
static CliTls tls;

static const GOptionEntry options[] = {
  { "listen", 'l', 0, G_OPTION_ARG_FILENAME_ARRAY, &listen_addresses,
    "unix:PATH or tcp:HOST:PORT; can be given several times", "ADDRESS" },
  { "socket", 'U', 0, G_OPTION_ARG_FILENAME, &socket_path,
    "The same as --listen=unix:PATH", "PATH" },
  { "port", 'p', 0, G_OPTION_ARG_INT, &port,
    "The same as --listen=tcp:localhost:PORT", "PORT" },
  { "max-connections", 0, 0, G_OPTION_ARG_INT, &max_connections,
    "Turn away more clients than that at a time (default: 1024)", "N" },
  { "timeout", 0, 0, G_OPTION_ARG_INT, &timeout_s,
    "Send away clients that neither ask nor take anything for that long",
    "SECONDS" },
  { "exit-with-parent", 0, 0, G_OPTION_ARG_NONE, &with_parent,
    "End when the process that started this one ends", NULL },
  { "keep-cache", 0, 0, G_OPTION_ARG_NONE, &keep_cache,
    "Leave in the page cache what was not there before", NULL },
  { "metrics", 0, 0, G_OPTION_ARG_FILENAME, &metrics,
    "Write counters there every 10 seconds, as Prometheus reads them", "FILE" },
  { "user", 0, 0, G_OPTION_ARG_STRING, &user_text,
    "Open everything, then become that user; implies --confine", "USER" },
  { "confine", 0, 0, G_OPTION_ARG_NONE, &confine,
    "Open everything, then let the kernel refuse what is not needed to serve",
    NULL },
  { "tls", 0, 0, G_OPTION_ARG_STRING, &tls.policy,
    "off, on or require (default: require where keys are given)", "POLICY" },
  { "tls-certificates", 0, 0, G_OPTION_ARG_FILENAME, &tls.certificates,
    "The directory with server-cert.pem, server-key.pem and ca-cert.pem",
    "DIR" },
  { "tls-verify-peer", 0, 0, G_OPTION_ARG_NONE, &tls.verify_peer,
    "Let in only clients with a certificate that ca-cert.pem answers for",
    NULL },
  { "tls-psk", 0, 0, G_OPTION_ARG_FILENAME, &tls.psk,
    "The file with keys of clients; auto: make one for once", "FILE" },
  G_OPTION_ENTRY_NULL,
};

/* ---- what to serve ---- */

static void
clear_source (gpointer element)
{
  const SnapExportSource *source = element;

  g_free ((char *) source->label);
  g_free ((char *) source->reference);
}

/* Where the reference starts in "LABEL=REFERENCE"; a path may have a '=' too,
   behind what no label has. */
static const char *
after_label (const char *text)
{
  gsize length = strspn (text, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "_-");

  return length > 0 && text[length] == '=' ? text + length + 1 : text;
}

static GArray *
take_sources (const Cli *cli)
{
  GArray *sources = g_array_new (FALSE, FALSE, sizeof (SnapExportSource));

  g_array_set_clear_func (sources, clear_source);
  for (guint i = 0; i < cli->n_args; i++) {
    const char *text = cli->args[i];
    const char *reference = after_label (text);
    const SnapExportSource source = {
      .label = reference > text ? g_strndup (text, reference - text - 1) : NULL,
      .reference = g_strdup (reference),
    };

    g_array_append_val (sources, source);
  }
  return sources;
}

static void
warn (const char *message, gpointer user_data)
{
  cli_say ("%s", message);
}

static SnapExports *
resolve (Cli *cli, GError **error)
{
  const SnapOpenOptions how = {
    .mode = SNAP_OPEN_READ,
    .secret_file = cli->options.secret_file,
    .snapshot_dir = cli->options.snapshot_dir,
    .warn = cli->options.quiet ? NULL : warn,
  };
  g_autoptr (GArray) sources = take_sources (cli);

  return snap_exports_resolve (cli->registry, cli->state,
                               (const SnapExportSource *) sources->data,
                               sources->len, &how, error);
}

/* ---- where to listen ---- */

static gboolean
listen_to_socket (SnapNbdServer *server, GError **error)
{
  g_autofree char *address = g_strconcat ("unix:", socket_path, NULL);

  return snap_nbd_server_listen (server, address, error);
}

static gboolean
listen_to_port (SnapNbdServer *server, GError **error)
{
  g_autofree char *address = g_strdup_printf ("tcp:localhost:%d", port);

  return snap_nbd_server_listen (server, address, error);
}

static gboolean
listen_everywhere (SnapNbdServer *server, GError **error)
{
  for (char **address = listen_addresses; address != NULL && *address != NULL;
       address++)
    if (!snap_nbd_server_listen (server, *address, error))
      return FALSE;
  for (guint i = 0; i < manager.n_sockets; i++)
    if (!snap_nbd_server_adopt (server, manager.first + i, error))
      return FALSE;
  return (socket_path == NULL || listen_to_socket (server, error))
         && (port < 0 || listen_to_port (server, error));
}

static gboolean
has_volume (const Cli *cli)
{
  for (guint i = 0; i < cli->n_args; i++) {
    g_autoptr (SnapReference) reference =
        snap_reference_parse (cli->registry, after_label (cli->args[i]), NULL);

    if (reference != NULL && reference->to == NULL)
      return TRUE;
  }
  return FALSE;
}

/* ---- serving ---- */

/* Every client takes a descriptor; the usual limit is below ours. */
static void
allow_descriptors (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) < 0)
    return;
  limit.rlim_cur = limit.rlim_max;
  (void) setrlimit (RLIMIT_NOFILE, &limit);
}

static gboolean
serve_until_end (Cli *cli, SnapNbdServer *server, SnapExports *exports,
                 CliServeWatch *watch, GError **error)
{
  if (!cli_serve_watch_write (watch, server, error))
    return FALSE;
  snap_nbd_server_start (server);
  if (!cli_announce (cli,
                     has_volume (cli) ? CLI_ANNOUNCE_POINTS : CLI_ANNOUNCE_ALL,
                     server, exports, error))
    return FALSE;
  cli_service_manager_tell (&manager, "READY=1");
  cli_serve_watch_wait (watch, server);
  cli_service_manager_tell (&manager, "STOPPING=1");
  snap_nbd_server_stop (server, GRACE_MS);
  cli_serve_watch_tell (watch, server);
  return TRUE;
}

/* ---- privileges ---- */

static void
let_go (gpointer server)
{
  snap_nbd_server_let_go (server);
}

/* What this process made, and may not be able to remove. */
static void
clean_up (gpointer server)
{
  snap_nbd_server_free (server);
  cli_tls_clear (&tls);
}

/* An older kernel has nothing to confine with. */
static gboolean
confine_if_possible (GError **error)
{
  g_autofree char *directory =
      metrics != NULL ? g_path_get_dirname (metrics) : NULL;
  g_autoptr (GError) reason = NULL;

  if (cli_confine (directory, &reason))
    return TRUE;
  if (!g_error_matches (reason, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED)) {
    g_propagate_error (error, g_steal_pointer (&reason));
    return FALSE;
  }
  cli_say ("--confine: %s", reason->message);
  return TRUE;
}

/* From here on this process has what it needs, and no more.  Comparisons are
   made by another one. */
static gboolean
give_up_privileges (SnapNbdServer *server, SnapExports *exports, GError **error)
{
  static const SnapExportsTwinFuncs funcs = { let_go, clean_up };
  CliUser user = { 0 };
  gboolean done;

  if (user_text == NULL && !confine)
    return TRUE;
  if (user_text != NULL && !cli_user_find (&user, user_text, error))
    return FALSE;
  done = snap_exports_separate (exports, &funcs, server, error)
         && (user_text == NULL || cli_user_become (&user, error))
         && confine_if_possible (error);
  g_free (user.name);
  return done;
}

static gboolean
serve (Cli *cli, SnapExports *exports, GError **error)
{
  const SnapNbdServerOptions how = {
    .max_connections = max_connections,
    .handshake_timeout_ms = timeout_s * 1000,
    .idle_timeout_ms = timeout_s * 1000,
    .keep_pages = keep_cache,
    .log = cli->options.quiet ? NULL : warn,
  };
  g_autoptr (SnapNbdServer) server = snap_nbd_server_new (exports, &how, error);
  g_auto (CliServeWatch) watch = CLI_SERVE_WATCH_INIT;

  cli_interrupt_defer ();
  return server != NULL && cli_tls_apply (&tls, server, error)
         && listen_everywhere (server, error)
         && give_up_privileges (server, exports, error)
         && cli_serve_watch_init (
             &watch, with_parent ? CLI_SERVE_WITH_PARENT : CLI_SERVE_ALONE,
             metrics, error)
         && serve_until_end (cli, server, exports, &watch, error);
}

static gboolean
check_number (const Cli *cli, const char *option, int value, int max,
              GError **error)
{
  return (value >= 0 && value <= max)
         || cli_usage (cli, error, "--%s=%d: not from 0 to %d", option, value,
                       max);
}

static gboolean
check_arguments (const Cli *cli, GError **error)
{
  if (cli->n_args == 0)
    return cli_usage (cli, error,
                      "nothing to serve; name a volume, a snapshot "
                      "or a range");
  if (port < -1 || port > G_MAXUINT16)
    return cli_usage (cli, error, "--port=%d: no port", port);
  if (!check_number (cli, "max-connections", max_connections, MAX_CONNECTIONS,
                     error)
      || !check_number (cli, "timeout", timeout_s, MAX_TIMEOUT_S, error))
    return FALSE;
  if (listen_addresses == NULL && socket_path == NULL && port < 0
      && manager.n_sockets == 0)
    return cli_usage (cli, error,
                      "nowhere to listen; --socket=PATH is "
                      "usual");
  return TRUE;
}

static gboolean
run (Cli *cli, GError **error)
{
  g_autoptr (SnapExports) exports = NULL;
  gboolean done;

  if (!cli_service_manager_init (&manager, error)
      || !check_arguments (cli, error))
    return FALSE;
  allow_descriptors ();
  exports = resolve (cli, error);
  done = exports != NULL && serve (cli, exports, error);
  cli_service_manager_clear (&manager);
  cli_tls_clear (&tls);
  return done;
}

const CliCommand cli_command_serve = {
  .verb = "serve",
  .arguments = "[LABEL=]REFERENCE…",
  .summary = "Serve snapshots, and what changed between them, over NBD",
  .help =
      "A reference names a snapshot, a range A..B, or a volume for all its\n"
      "snapshots. Runs until SIGINT or SIGTERM; prints the addresses, one a\n"
      "line.\n"
      "\n"
      "  nbdsnap serve --socket=/run/vm.sock disk.qcow2@mon..tue",
  .options = options,
  .run = run,
};
