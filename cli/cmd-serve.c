/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include <poll.h>
#include <string.h>

#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/output.h"
#include "nbd-server/server.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/service/reference.h"

/* How long a client may take for the replies to what it asked for. */
#define GRACE_MS 10000

static char **listen_addresses;
static char *socket_path;
static int port = -1;

static const GOptionEntry options[] = {
  { "listen", 'l', 0, G_OPTION_ARG_FILENAME_ARRAY, &listen_addresses,
    "unix:PATH or tcp:HOST:PORT; can be given several times", "ADDRESS" },
  { "socket", 'U', 0, G_OPTION_ARG_FILENAME, &socket_path,
    "The same as --listen=unix:PATH", "PATH" },
  { "port", 'p', 0, G_OPTION_ARG_INT, &port,
    "The same as --listen=tcp:localhost:PORT", "PORT" },
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
  return (socket_path == NULL || listen_to_socket (server, error))
         && (port < 0 || listen_to_port (server, error));
}

/* ---- what to print ---- */

typedef struct {
  SnapNbdServer *server;
  JsonBuilder *json; /* or NULL */
  gboolean ranges;   /* also "BASE..SNAP" */
  GError *error;
} Announcement;

static gboolean
print_uris (Announcement *self, const char *name)
{
  for (guint i = 0; i < snap_nbd_server_n_listeners (self->server); i++) {
    g_autofree char *uri = snap_nbd_server_uri (self->server, i, name);

    if (self->json != NULL)
      cli_json_add_element (self->json, uri);
    else if (!cli_print_line (&self->error, uri))
      return FALSE;
  }
  return TRUE;
}

static gboolean
announce_export (const char *name, const char *description,
                 gpointer announcement)
{
  Announcement *self = announcement;

  if (strstr (name, "..") != NULL && !self->ranges)
    return TRUE;
  if (self->json == NULL)
    return print_uris (self, name);
  json_builder_begin_object (self->json);
  cli_json_add_text (self->json, "name", name);
  cli_json_add_text (self->json, "description", description);
  cli_json_begin_array (self->json, "uris");
  print_uris (self, name);
  json_builder_end_array (self->json);
  json_builder_end_object (self->json);
  return TRUE;
}

/* Whole volumes have too many ranges to print. */
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

static gboolean
announce (const Cli *cli, SnapNbdServer *server, SnapExports *exports,
          GError **error)
{
  g_autoptr (JsonBuilder) json =
      cli->options.json ? cli_json_begin (cli->verb) : NULL;
  Announcement announcement = { server, json, !has_volume (cli), NULL };

  if (json != NULL)
    cli_json_begin_array (json, "exports");
  snap_exports_list (exports, announce_export, &announcement);
  if (announcement.error != NULL) {
    g_propagate_error (error, announcement.error);
    return FALSE;
  }
  if (json != NULL)
    json_builder_end_array (json);
  return (json == NULL || cli_json_print (json, error))
         && cli_output_flush (error);
}

/* ---- serving ---- */

static void
wait_for_signal (CliInterrupt *interrupt)
{
  GPollFD wait;

  if (g_cancellable_make_pollfd (cli_interrupt_cancellable (interrupt), &wait))
    while (g_poll (&wait, 1, -1) < 0)
      continue;
  g_cancellable_release_fd (cli_interrupt_cancellable (interrupt));
}

static gboolean
serve (Cli *cli, SnapNbdServer *server, SnapExports *exports, GError **error)
{
  g_autoptr (CliInterrupt) interrupt = cli_interrupt_new ();

  snap_nbd_server_start (server);
  if (!announce (cli, server, exports, error))
    return FALSE;
  wait_for_signal (interrupt);
  snap_nbd_server_stop (server, GRACE_MS);
  return TRUE;
}

static gboolean
check_arguments (const Cli *cli, GError **error)
{
  if (cli->n_args == 0)
    return cli_usage (cli, error,
                      "nothing to serve; name a volume, a snapshot "
                      "or a range");
  if (port < -1 || port > G_MAXUINT16)
    return cli_usage (cli, error, "%d: no port", port);
  if (listen_addresses == NULL && socket_path == NULL && port < 0)
    return cli_usage (cli, error,
                      "nowhere to listen; --socket=PATH is "
                      "usual");
  return TRUE;
}

static gboolean
run (Cli *cli, GError **error)
{
  const SnapNbdServerOptions how = {
    .log = cli->options.quiet ? NULL : warn,
  };
  g_autoptr (SnapExports) exports = NULL;
  g_autoptr (SnapNbdServer) server = NULL;

  if (!check_arguments (cli, error))
    return FALSE;
  exports = resolve (cli, error);
  if (exports == NULL)
    return FALSE;
  server = snap_nbd_server_new (exports, &how, error);
  return server != NULL && listen_everywhere (server, error)
         && serve (cli, server, exports, error);
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
