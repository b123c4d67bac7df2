/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that somebody is told of.  A task may start a thread of GLib's: the
 * plain calls have nothing to do with them.
 */
#include "config.h"

#include "qmp/client-private.h"

typedef struct {
  QmpCall *call;
  GTask *task;
  GSource *timeout;
  GSource *cancelled; /* or NULL */
} Errand;

static void
clear_source (GSource **source)
{
  if (*source != NULL) {
    g_source_destroy (*source);
    g_clear_pointer (source, g_source_unref);
  }
}

static void
attach (GSource *source, GSourceFunc func, Errand *errand)
{
  g_source_set_callback (source, func, errand, NULL);
  g_source_attach (source, qmp_client_context (errand->call->client));
}

static gboolean
deliver (gpointer user_data)
{
  Errand *errand = user_data;
  GError *error = NULL;
  JsonNode *value = qmp_call_take (errand->call, &error);

  qmp_call_free (errand->call);
  if (error != NULL)
    g_task_return_error (errand->task, error);
  else
    g_task_return_pointer (errand->task, value,
                           (GDestroyNotify) json_node_unref);
  g_object_unref (errand->task);
  g_free (errand);
  return G_SOURCE_REMOVE;
}

/* Not at once: the callback may use the client, which is reading. */
static void
on_done (QmpCall *call)
{
  Errand *errand = call->user_data;
  g_autoptr (GSource) idle = g_idle_source_new ();

  clear_source (&errand->timeout);
  clear_source (&errand->cancelled);
  g_source_set_priority (idle, G_PRIORITY_DEFAULT);
  attach (idle, deliver, errand);
}

static gboolean
on_timeout (gpointer user_data)
{
  QmpCall *call = ((Errand *) user_data)->call;

  qmp_call_fail (call, g_error_new (QMP_ERROR, QMP_ERROR_TIMEOUT,
                                    "%s: the monitor does not answer",
                                    call->command));
  return G_SOURCE_REMOVE;
}

static gboolean
on_cancelled (GCancellable *cancellable, gpointer user_data)
{
  QmpCall *call = ((Errand *) user_data)->call;

  qmp_call_fail (call, g_error_new (QMP_ERROR, QMP_ERROR_CANCELLED,
                                    "%s: cancelled", call->command));
  return G_SOURCE_REMOVE;
}

static void
watch (Errand *errand, guint timeout_ms, GCancellable *cancellable)
{
  errand->call->notify = on_done;
  errand->call->user_data = errand;
  errand->timeout = g_timeout_source_new (timeout_ms);
  attach (errand->timeout, on_timeout, errand);
  if (cancellable != NULL) {
    errand->cancelled = g_cancellable_source_new (cancellable);
    attach (errand->cancelled, G_SOURCE_FUNC (on_cancelled), errand);
  }
  if (errand->call->done) /* before anybody was to be told */
    on_done (errand->call);
}

void
qmp_client_execute_async (QmpClient *self, const char *command,
                          JsonObject *arguments, guint timeout_ms,
                          GCancellable *cancellable,
                          GAsyncReadyCallback callback, gpointer user_data)
{
  Errand *errand = g_new0 (Errand, 1);
  GError *error = NULL;

  g_main_context_push_thread_default (qmp_client_context (self));
  errand->task = g_task_new (NULL, NULL, callback, user_data);
  g_main_context_pop_thread_default (qmp_client_context (self));
  g_task_set_source_tag (errand->task, qmp_client_execute_async);
  errand->call = qmp_call_start (self, command, arguments, NULL, 0, &error);
  if (errand->call != NULL) {
    watch (errand, timeout_ms, cancellable);
    return;
  }
  g_task_return_error (errand->task, error);
  g_object_unref (errand->task);
  g_free (errand);
}

JsonNode *
qmp_client_execute_finish (QmpClient *self, GAsyncResult *result,
                           GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, NULL), NULL);
  return g_task_propagate_pointer (G_TASK (result), error);
}
