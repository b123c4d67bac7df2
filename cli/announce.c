/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/announce.h"

#include <string.h>

#include "cli/json.h"
#include "cli/output.h"

typedef struct {
  SnapNbdServer *server;
  JsonBuilder *json; /* or NULL */
  CliAnnounce what;
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

  if (self->what == CLI_ANNOUNCE_POINTS && strstr (name, "..") != NULL)
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

gboolean
cli_announce (const Cli *cli, CliAnnounce what, SnapNbdServer *server,
              SnapExports *exports, GError **error)
{
  g_autoptr (JsonBuilder) json =
      cli->options.json ? cli_json_begin (cli->verb) : NULL;
  Announcement announcement = { server, json, what, NULL };

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
