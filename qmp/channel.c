/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp/message.h"

/* As much as is read at once. */
#define CHUNK 65536

/* The most that is thrown away unread when a channel is drained; whatever
   comes faster than that is for the reader of lines to refuse. */
#define MAX_DRAINED QMP_MAX_MESSAGE

/* As many descriptors as a message may have. */
#define MAX_FDS 16

/* How long to leave a full queue of connections alone. */
#define RETRY_US 20000

typedef struct {
  char *text;
  gsize length, sent;
  int fds[MAX_FDS];
  guint n_fds;
} Parcel;

struct _QmpChannel {
  int fd;
  char *name;
  GMainContext *context;
  GSource *readable; /* until broken */
  GSource *writable; /* while parcels wait */
  GSource *timer;    /* ends a run at its deadline */
  GSource *cancelled;
  GCancellable *cancellable;
  GQueue parcels;
  GByteArray *input; /* the beginning of a line */
  gsize max_line;
  const QmpChannelFuncs *funcs;
  gpointer user_data;
  gint64 looked_after_us; /* the deadline after which there was a look */
  GError *broken;
};

static void
clear_source (GSource **source)
{
  if (*source != NULL) {
    g_source_destroy (*source);
    g_clear_pointer (source, g_source_unref);
  }
}

static GSource *
attach_source (QmpChannel *self, GIOCondition condition, GUnixFDSourceFunc func)
{
  GSource *source = g_unix_fd_source_new (self->fd, condition);

  g_source_set_callback (source, G_SOURCE_FUNC (func), self, NULL);
  g_source_attach (source, self->context);
  return source;
}

/* ---- connecting ---- */

static gboolean
make_address (const char *path, struct sockaddr_un *address, GError **error)
{
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  if (strlen (path) >= sizeof address->sun_path)
    return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                          "%s: too long for the path of a socket", path);
  strcpy (address->sun_path, path);
  return TRUE;
}

/* Only where there is no process can nothing stand still. */
static QmpError
code_of_connect (int errnum)
{
  return errnum == ENOENT || errnum == ECONNREFUSED ? QMP_ERROR_GONE
                                                    : QMP_ERROR_PROTOCOL;
}

/* Others may wait to be let in before us, more than the peer has room for. */
static gboolean
connect_until (int fd, const struct sockaddr_un *address, gint64 deadline_us,
               GCancellable *cancellable, GError **error)
{
  const char *path = address->sun_path;

  while (connect (fd, (const struct sockaddr *) address, sizeof *address) < 0) {
    int errnum = errno;

    if (errnum != EAGAIN && errnum != EINTR)
      return qmp_error_set (error, code_of_connect (errnum), "%s: %s", path,
                            g_strerror (errnum));
    if (g_cancellable_is_cancelled (cancellable))
      return qmp_error_set (error, QMP_ERROR_CANCELLED, "%s: cancelled", path);
    if (g_get_monotonic_time () >= deadline_us)
      return qmp_error_set (error, QMP_ERROR_BUSY,
                            "%s: too many wait for it already", path);
    g_usleep (RETRY_US);
  }
  return TRUE;
}

int
qmp_channel_connect (const char *path, gint64 deadline_us,
                     GCancellable *cancellable, GError **error)
{
  struct sockaddr_un address;
  int fd;

  if (!make_address (path, &address, error))
    return -1;
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    qmp_error_set (error, QMP_ERROR_PROTOCOL, "%s: %s", path,
                   g_strerror (errno));
    return -1;
  }
  if (!connect_until (fd, &address, deadline_us, cancellable, error)) {
    close (fd);
    return -1;
  }
  return fd;
}

/* ---- the end ---- */

static void
parcel_free (Parcel *parcel)
{
  for (guint i = 0; i < parcel->n_fds; i++)
    close (parcel->fds[i]);
  g_free (parcel->text);
  g_free (parcel);
}

static void
drop_parcels (QmpChannel *self)
{
  clear_source (&self->writable);
  g_queue_clear_full (&self->parcels, (GDestroyNotify) parcel_free);
}

void
qmp_channel_break (QmpChannel *self, GError *reason)
{
  if (self->broken != NULL) {
    g_error_free (reason);
    return;
  }
  self->broken = reason;
  clear_source (&self->readable);
  drop_parcels (self);
  if (self->funcs != NULL && self->funcs->broken != NULL)
    self->funcs->broken (reason, self->user_data);
}

static void
break_by (QmpChannel *self, QmpError code, const char *fact)
{
  qmp_channel_break (self,
                     g_error_new (QMP_ERROR, code, "%s %s", self->name, fact));
}

static void
break_by_errno (QmpChannel *self, int errnum)
{
  qmp_channel_break (self, g_error_new (QMP_ERROR, QMP_ERROR_GONE, "%s: %s",
                                        self->name, g_strerror (errnum)));
}

static gboolean
is_usable (QmpChannel *self, GError **error)
{
  if (self->broken != NULL && error != NULL)
    *error = g_error_copy (self->broken);
  if (self->broken != NULL)
    return FALSE;
  if (g_cancellable_is_cancelled (self->cancellable))
    return qmp_error_set (error, QMP_ERROR_CANCELLED, "cancelled");
  return TRUE;
}

const GError *
qmp_channel_broken (QmpChannel *self)
{
  return self->broken;
}

gboolean
qmp_channel_is_gone (QmpChannel *self)
{
  char byte;
  gssize length;

  if (self->broken != NULL)
    return TRUE;
  length = recv (self->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR);
}

/* ---- reading ---- */

/* Hand out the lines of @data, which follows what is kept. */
static void
split (QmpChannel *self, const char *data, gsize length)
{
  const char *end;

  while (self->broken == NULL && (end = memchr (data, '\n', length)) != NULL) {
    gsize n = (gsize) (end - data);

    if (n > self->max_line - self->input->len) {
      break_by (self, QMP_ERROR_PROTOCOL, "sends too long a line");
      return;
    }
    g_byte_array_append (self->input, (const guint8 *) data, (guint) n);
    self->funcs->line ((const char *) self->input->data, self->input->len,
                       self->user_data);
    g_byte_array_set_size (self->input, 0);
    data += n + 1;
    length -= n + 1;
  }
  if (self->broken != NULL)
    return;
  if (length > self->max_line - self->input->len)
    break_by (self, QMP_ERROR_PROTOCOL, "sends too long a line");
  else
    g_byte_array_append (self->input, (const guint8 *) data, (guint) length);
}

/* Read once; FALSE if there is nothing more for now. */
static gboolean
receive (QmpChannel *self, char *chunk, gssize *length)
{
  *length = recv (self->fd, chunk, CHUNK, MSG_DONTWAIT);
  if (*length > 0)
    return TRUE;
  if (*length == 0 || errno == ECONNRESET)
    break_by (self, QMP_ERROR_GONE, "has closed the connection");
  else if (errno != EAGAIN && errno != EINTR)
    break_by_errno (self, errno);
  return FALSE;
}

static gboolean
on_readable (int fd, GIOCondition condition, gpointer user_data)
{
  QmpChannel *self = user_data;
  char chunk[CHUNK];
  gssize length;

  if (receive (self, chunk, &length))
    split (self, chunk, (gsize) length);
  return self->broken == NULL ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

gboolean
qmp_channel_drain (QmpChannel *self)
{
  char chunk[CHUNK];
  gsize drained = self->input->len;
  gssize length;

  g_byte_array_set_size (self->input, 0);
  while (self->broken == NULL && drained < MAX_DRAINED
         && receive (self, chunk, &length))
    drained += (gsize) length;
  return drained > 0;
}

/* ---- sending ---- */

/* A peer that is gone shows when it is read from, behind what it has still
   said; until then what is sent goes nowhere.  FALSE if a later try may do. */
static gboolean
send_failed (QmpChannel *self, int errnum)
{
  if (errnum == EAGAIN || errnum == EINTR)
    return FALSE;
  if (errnum == EPIPE || errnum == ECONNRESET)
    return TRUE;
  break_by_errno (self, errnum);
  return FALSE;
}

static void
attach_fds (struct msghdr *message, const Parcel *parcel)
{
  gsize size = parcel->n_fds * sizeof parcel->fds[0];
  struct cmsghdr *control;

  message->msg_controllen = CMSG_SPACE (size);
  control = CMSG_FIRSTHDR (message);
  *control = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                               .cmsg_type = SCM_RIGHTS,
                               .cmsg_len = CMSG_LEN (size) };
  memcpy (CMSG_DATA (control), parcel->fds, size);
}

/* FALSE if the rest has to wait. */
static gboolean
send_parcel (QmpChannel *self, Parcel *parcel)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (MAX_FDS * sizeof (int))];
  } control = { .bytes = { 0 } };
  struct iovec part = { parcel->text + parcel->sent,
                        parcel->length - parcel->sent };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
  gssize n;

  if (parcel->sent == 0 && parcel->n_fds > 0) {
    message.msg_control = &control;
    attach_fds (&message, parcel);
  }
  n = sendmsg (self->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0)
    return send_failed (self, errno);
  parcel->sent += (gsize) n;
  return parcel->sent == parcel->length;
}

/* FALSE if something has to wait. */
static gboolean
flush (QmpChannel *self)
{
  Parcel *parcel;

  while ((parcel = g_queue_peek_head (&self->parcels)) != NULL
         && send_parcel (self, parcel))
    parcel_free (g_queue_pop_head (&self->parcels));
  return parcel == NULL;
}

static gboolean
on_writable (int fd, GIOCondition condition, gpointer user_data)
{
  QmpChannel *self = user_data;

  if (flush (self))
    clear_source (&self->writable);
  return G_SOURCE_CONTINUE;
}

static gboolean
keep_fds (Parcel *parcel, const int *fds, guint n_fds, GError **error)
{
  g_return_val_if_fail (n_fds <= MAX_FDS, FALSE);
  for (; parcel->n_fds < n_fds; parcel->n_fds++) {
    int copy = fcntl (fds[parcel->n_fds], F_DUPFD_CLOEXEC, 0);

    if (copy < 0)
      return qmp_error_set (error, QMP_ERROR_PROTOCOL,
                            "passing a descriptor: %s", g_strerror (errno));
    parcel->fds[parcel->n_fds] = copy;
  }
  return TRUE;
}

static Parcel *
make_parcel (const char *text, const int *fds, guint n_fds, GError **error)
{
  Parcel *parcel = g_new0 (Parcel, 1);

  parcel->text = g_strdup (text);
  parcel->length = strlen (text);
  if (keep_fds (parcel, fds, n_fds, error))
    return parcel;
  parcel_free (parcel);
  return NULL;
}

gboolean
qmp_channel_send (QmpChannel *self, const char *text, const int *fds,
                  guint n_fds, GError **error)
{
  Parcel *parcel;

  if (!is_usable (self, error))
    return FALSE;
  parcel = make_parcel (text, fds, n_fds, error);
  if (parcel == NULL)
    return FALSE;
  g_queue_push_tail (&self->parcels, parcel);
  if (self->writable == NULL && !flush (self) && self->broken == NULL)
    self->writable = attach_source (self, G_IO_OUT, on_writable);
  return TRUE;
}

/* ---- running ---- */

static gboolean
on_deadline (GSource *timer, GSourceFunc callback, gpointer user_data)
{
  g_source_set_ready_time (timer, -1);
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_funcs = { .dispatch = on_deadline };

/* What has come in time is seen, even if we are late ourselves: there is one
   more look after the deadline. */
gboolean
qmp_channel_run (QmpChannel *self, gint64 deadline_us, GError **error)
{
  gboolean late = g_get_monotonic_time () >= deadline_us;

  if (!is_usable (self, error))
    return FALSE;
  if (late && self->looked_after_us == deadline_us)
    return qmp_error_set (error, QMP_ERROR_TIMEOUT, "%s does not answer",
                          self->name);
  if (late)
    self->looked_after_us = deadline_us;
  /* Every change wakes up whoever waits next; the same again is none. */
  g_source_set_ready_time (self->timer, deadline_us);
  g_main_context_iteration (self->context, !late);
  return TRUE;
}

static gboolean
on_cancelled (GCancellable *cancellable, gpointer user_data)
{
  return G_SOURCE_REMOVE; /* it is enough that the run wakes up */
}

void
qmp_channel_set_cancellable (QmpChannel *self, GCancellable *cancellable)
{
  clear_source (&self->cancelled);
  g_set_object (&self->cancellable, cancellable);
  if (cancellable == NULL)
    return;
  self->cancelled = g_cancellable_source_new (cancellable);
  g_source_set_callback (self->cancelled, G_SOURCE_FUNC (on_cancelled), NULL,
                         NULL);
  g_source_attach (self->cancelled, self->context);
}

/* ---- the channel ---- */

QmpChannel *
qmp_channel_new (int fd, const char *name)
{
  QmpChannel *self = g_new0 (QmpChannel, 1);

  self->fd = fd;
  self->name = g_strdup (name);
  self->context = g_main_context_new ();
  self->input = g_byte_array_new ();
  self->max_line = QMP_MAX_MESSAGE;
  self->looked_after_us = -1;
  g_queue_init (&self->parcels);
  self->timer = g_source_new (&timer_funcs, sizeof (GSource));
  g_source_attach (self->timer, self->context);
  self->readable = attach_source (self, G_IO_IN, on_readable);
  return self;
}

void
qmp_channel_free (QmpChannel *self)
{
  qmp_channel_set_cancellable (self, NULL);
  clear_source (&self->readable);
  clear_source (&self->timer);
  drop_parcels (self);
  g_main_context_unref (self->context);
  g_byte_array_unref (self->input);
  g_clear_error (&self->broken);
  g_free (self->name);
  close (self->fd);
  g_free (self);
}

int
qmp_channel_fd (QmpChannel *self)
{
  return self->fd;
}

GMainContext *
qmp_channel_context (QmpChannel *self)
{
  return self->context;
}

void
qmp_channel_set_max_line (QmpChannel *self, gsize max_line)
{
  self->max_line = max_line;
}

void
qmp_channel_set_funcs (QmpChannel *self, const QmpChannelFuncs *funcs,
                       gpointer user_data)
{
  self->funcs = funcs;
  self->user_data = user_data;
}
