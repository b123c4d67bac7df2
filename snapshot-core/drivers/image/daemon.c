/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A qemu-storage-daemon of our own.  It inherits a socket to listen on for NBD,
 * one end of a pair that its monitor speaks QMP over, and the files of the
 * chain: nobody else can reach it, and no name of a file is ever told to it.
 */
#include "config.h"

#include "snapshot-core/drivers/image/image.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "qmp/client.h"
#include "qmp/json.h"
#include "snapshot-core/os/fd.h"

/* Descriptors in the daemon: 3 is its listening socket. */
#define MONITOR_FD "4"
#define FIRST_CHAIN_FD 5
#define DESCRIPTOR "/proc/self/fd/"

/* How long it may take to start, and to open an image on slow storage. */
#define PATIENCE_MS (60 * 1000)

#define KEY "key"

typedef struct {
  const ImageVolume *volume;
  int monitor_fd; /* our end */
  GArray *fds;    /* what the daemon inherits, its end first */
  QmpClient *client;
  gboolean measure; /* to the sizes of the chain's files */
} Conversation;

/* ---- words ---- */

/* What the daemon says of a descriptor, put into the path it stands for. */
static char *
explain (const ImageVolume *volume, const char *text)
{
  GString *out = g_string_new (text);

  for (guint i = volume->chain->len; i-- > 0;) {
    const ImageFile *file = g_ptr_array_index (volume->chain, i);
    g_autofree char *word =
        g_strdup_printf (DESCRIPTOR "%u", FIRST_CHAIN_FD + i);

    g_string_replace (out, word, file->path, 0);
  }
  return g_string_free (out, FALSE);
}

static gboolean
fail (const Conversation *self, GError *reason, GError **error)
{
  g_autofree char *words = explain (self->volume, reason->message);

  g_error_free (reason);
  return snap_error_set (error, SNAP_ERROR_IO, "%s: qemu-storage-daemon: %s",
                         image_volume_file (self->volume)->path, words);
}

static JsonNode *
ask (Conversation *self, const char *command, JsonObject *arguments,
     GError **error)
{
  GError *reason = NULL;
  JsonNode *answer = qmp_client_execute (self->client, command, arguments,
                                         PATIENCE_MS, &reason);

  if (answer == NULL)
    fail (self, reason, error);
  return answer;
}

static gboolean
tell (Conversation *self, const char *command, JsonObject *arguments,
      GError **error)
{
  g_autoptr (JsonNode) answer = ask (self, command, arguments, error);

  return answer != NULL;
}

static JsonObject *
object_new (const char *kind, const char *value)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, kind, value);
  return object;
}

/* ---- the nodes: file0, disk0 over it; file1, disk1 for what is below ---- */

static gboolean
add_key (Conversation *self, GError **error)
{
  JsonObject *object;

  if (self->volume->secret_file == NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: encrypted, and no secret file was given",
                           image_volume_file (self->volume)->path);
  object = object_new ("qom-type", "secret");
  json_object_set_string_member (object, "id", KEY);
  json_object_set_string_member (object, "file", self->volume->secret_file);
  return tell (self, "object-add", object, error);
}

static gboolean
add_file (Conversation *self, const ImageFile *file, guint index,
          GError **error)
{
  g_autofree char *name = g_strdup_printf ("file%u", index);
  g_autofree char *path =
      g_strdup_printf (DESCRIPTOR "%u", FIRST_CHAIN_FD + index);
  JsonObject *node =
      object_new ("driver", file->is_device ? "host_device" : "file");

  json_object_set_string_member (node, "node-name", name);
  json_object_set_string_member (node, "filename", path);
  json_object_set_boolean_member (node, "read-only", TRUE);
  return tell (self, "blockdev-add", node, error);
}

/* Where a format has backing files, having none is spelt out: then no name in
   any header is looked at. */
static void
set_backing (JsonObject *node, const GPtrArray *chain, guint index)
{
  const ImageFile *file = g_ptr_array_index (chain, index);
  g_autofree char *below = g_strdup_printf ("disk%u", index + 1);

  if (file->header->format != SNAP_DISK_QED
      && file->header->format != SNAP_DISK_VMDK)
    return;
  if (index + 1 < chain->len)
    json_object_set_string_member (node, "backing", below);
  else
    json_object_set_null_member (node, "backing");
}

static gboolean
add_disk (Conversation *self, guint index, GError **error)
{
  const GPtrArray *chain = self->volume->chain;
  const ImageFile *file = g_ptr_array_index (chain, index);
  const char *format = snap_disk_format_name (file->header->format);
  g_autofree char *name = g_strdup_printf ("disk%u", index);
  g_autofree char *below = g_strdup_printf ("file%u", index);
  JsonObject *node;

  if (!add_file (self, file, index, error)
      || (file->header->format == SNAP_DISK_LUKS && !add_key (self, error)))
    return FALSE;
  node = object_new ("driver", format);
  json_object_set_string_member (node, "node-name", name);
  json_object_set_string_member (node, "file", below);
  json_object_set_boolean_member (node, "read-only", TRUE);
  if (file->header->format == SNAP_DISK_LUKS)
    json_object_set_string_member (node, "key-secret", KEY);
  set_backing (node, chain, index);
  return tell (self, "blockdev-add", node, error);
}

static gboolean
add_chain (Conversation *self, GError **error)
{
  for (guint i = self->volume->chain->len; i-- > 0;)
    if (!add_disk (self, i, error))
      return FALSE;
  return TRUE;
}

static gboolean
add_export (Conversation *self, GError **error)
{
  JsonObject *export = object_new ("type", "nbd");

  json_object_set_string_member (export, "id", "disk");
  json_object_set_string_member (export, "name", "");
  json_object_set_string_member (export, "node-name", "disk0");
  json_object_set_boolean_member (export, "writable", FALSE);
  json_object_set_boolean_member (export, "allocation-depth", TRUE);
  return tell (self, "block-export-add", export, error);
}

/* ---- sizes ---- */

static gint64
find_size (JsonArray *nodes, const char *name)
{
  for (guint i = 0; i < json_array_get_length (nodes); i++) {
    JsonObject *node = qmp_json_as_object (json_array_get_element (nodes, i));
    JsonObject *image = node != NULL ? qmp_json_object (node, "image") : NULL;

    if (image != NULL
        && g_strcmp0 (qmp_json_string (node, "node-name"), name) == 0)
      return qmp_json_size (image, "virtual-size", -1);
  }
  return -1;
}

static gboolean
measure (Conversation *self, GError **error)
{
  JsonObject *arguments = json_object_new ();
  g_autoptr (JsonNode) answer = NULL;

  json_object_set_boolean_member (arguments, "flat", TRUE);
  answer = ask (self, "query-named-block-nodes", arguments, error);
  if (answer == NULL)
    return FALSE;
  for (guint i = 0; i < self->volume->chain->len; i++) {
    ImageFile *file = g_ptr_array_index (self->volume->chain, i);
    g_autofree char *name = g_strdup_printf ("disk%u", i);
    gint64 size = JSON_NODE_HOLDS_ARRAY (answer)
                      ? find_size (json_node_get_array (answer), name)
                      : -1;

    if (size < 0)
      return snap_error_set (error, SNAP_ERROR_IO,
                             "%s: qemu-storage-daemon does not say how large "
                             "it is",
                             file->path);
    file->size = (guint64) size;
  }
  return TRUE;
}

/* ---- the daemon ---- */

static gboolean
instruct (gpointer user_data, GError **error)
{
  Conversation *self = user_data;
  GError *reason = NULL;

  /* Now only the daemon has its end: when it ends, we see it. */
  snap_fd_clear (&g_array_index (self->fds, int, 0));
  self->client = qmp_client_take (snap_fd_steal (&self->monitor_fd),
                                  PATIENCE_MS, NULL, &reason);
  if (self->client == NULL)
    return fail (self, reason, error);
  return add_chain (self, error) && add_export (self, error)
         && (!self->measure || measure (self, error));
}

static void
conversation_clear (Conversation *self)
{
  g_clear_pointer (&self->client, qmp_client_close);
  snap_fd_clear (&self->monitor_fd);
  g_clear_pointer (&self->fds, g_array_unref);
}

static gboolean
connect_pair (Conversation *self, GError **error)
{
  int ends[2];

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return snap_error_set_errno (error, errno, "%s: socket",
                                 image_volume_file (self->volume)->path);
  self->monitor_fd = ends[0];
  g_array_prepend_val (self->fds, ends[1]);
  return TRUE;
}

static SnapNbdSource *
start (Conversation *self, guint n_connections, GError **error)
{
  static const char *const argv[] = {
    "qemu-storage-daemon",
    "--chardev",
    "socket,id=qmp,fd=" MONITOR_FD,
    "--monitor",
    "chardev=qmp",
    "--nbd-server",
    "addr.type=fd,addr.str=3",
    NULL,
  };
  const SnapNbdServer server = {
    .argv = argv,
    .fds = (const int *) self->fds->data,
    .n_fds = self->fds->len,
    .instruct = instruct,
    .user_data = self,
    .export_name = "",
    .contexts = (const char *const[]){ SNAP_NBD_ALLOCATION, IMAGE_DEPTH, NULL },
    .n_connections = n_connections,
  };

  return snap_nbd_source_start (&server, image_volume_file (self->volume)->path,
                                error);
}

static SnapNbdSource *
converse (const ImageVolume *volume, gboolean measured, guint n_connections,
          GError **error)
{
  Conversation self = { .volume = volume,
                        .monitor_fd = -1,
                        .measure = measured };
  SnapNbdSource *source = NULL;

  self.fds = image_chain_reopen (volume->chain, error);
  if (self.fds != NULL && connect_pair (&self, error))
    source = start (&self, n_connections, error);
  conversation_clear (&self);
  return source;
}

SnapNbdSource *
image_daemon_start (const ImageVolume *volume, guint n_connections,
                    GError **error)
{
  g_autoptr (SnapNbdSource) source =
      converse (volume, FALSE, n_connections, error);

  if (source == NULL
      || snap_nbd_source_size (source) == image_volume_file (volume)->size)
    return g_steal_pointer (&source);
  snap_error_set (error, SNAP_ERROR_IO, "%s: its size has changed",
                  image_volume_file (volume)->path);
  return NULL;
}

gboolean
image_daemon_measure (const ImageVolume *volume, GError **error)
{
  g_autoptr (SnapNbdSource) source = converse (volume, TRUE, 1, error);

  return source != NULL;
}
