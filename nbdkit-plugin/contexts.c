/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbdkit-plugin/contexts.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "snapshot-core/base/text.h"

/* How long a client may take for the replies to what it asked for. */
#define GRACE_MS 10000

static void
log_line (const char *message, gpointer user_data)
{
  g_autofree char *line = snap_text_escape (message, TRUE);

  nbdkit_error ("contexts: %s", line);
}

SnapNbdServer *
plugin_contexts_open (SnapExports *exports, const char *path, GError **error)
{
  const SnapNbdServerOptions options = { .log = log_line };
  g_autofree char *address = g_strconcat ("unix:", path, NULL);
  g_autoptr (SnapNbdServer) server =
      snap_nbd_server_new (exports, &options, error);

  if (server == NULL || !snap_nbd_server_listen (server, address, error))
    return NULL;
  return g_steal_pointer (&server);
}

void
plugin_contexts_close (SnapNbdServer *server)
{
  if (server == NULL)
    return;
  snap_nbd_server_stop (server, GRACE_MS);
  snap_nbd_server_free (server);
}
