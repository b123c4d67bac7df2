/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "qmp/monitor.h"

#include <stdlib.h>

struct _QmpMonitor {
  int n_refs; /* under table_lock */
  char *path; /* the real one */
  GRecMutex lock;
  QmpClient *client; /* under lock; NULL before it is connected */
};

/* Real path → QmpMonitor, borrowed from those who have references. */
static GHashTable *table;
static GMutex table_lock;

/* Two names of one socket are one monitor. */
static char *
find_real_path (const char *path)
{
  char *real = realpath (path, NULL);
  char *copy = g_strdup (real == NULL ? path : real);

  free (real);
  return copy;
}

static QmpMonitor *
make_monitor (const char *path)
{
  QmpMonitor *self = g_new0 (QmpMonitor, 1);

  self->path = g_strdup (path);
  g_rec_mutex_init (&self->lock);
  return self;
}

/* Another may have taken our place, when our peer was gone. */
static void
forget (QmpMonitor *self)
{
  if (g_hash_table_lookup (table, self->path) == self)
    g_hash_table_remove (table, self->path);
}

static QmpMonitor *
ref_entry (const char *path)
{
  QmpMonitor *self;

  g_mutex_lock (&table_lock);
  if (table == NULL)
    table = g_hash_table_new (g_str_hash, g_str_equal);
  self = g_hash_table_lookup (table, path);
  if (self == NULL) {
    self = make_monitor (path);
    g_hash_table_insert (table, self->path, self);
  }
  self->n_refs++;
  g_mutex_unlock (&table_lock);
  return self;
}

typedef enum { READY, STALE, FAILED } Outcome;

/* STALE: one that somebody here holds on to, and whose peer is gone. */
static Outcome
connect_entry (QmpMonitor *self, GError **error)
{
  Outcome outcome = READY;

  qmp_monitor_lock (self);
  if (self->client != NULL && qmp_client_is_gone (self->client))
    outcome = STALE;
  if (self->client == NULL)
    self->client =
        qmp_client_connect (self->path, QMP_GREETING_MS, NULL, error);
  if (self->client == NULL)
    outcome = FAILED;
  qmp_monitor_unlock (self);
  return outcome;
}

/* Who holds on to it keeps it; the next who asks gets another. */
static void
give_way (QmpMonitor *self)
{
  g_mutex_lock (&table_lock);
  forget (self);
  g_mutex_unlock (&table_lock);
}

QmpMonitor *
qmp_monitor_ref (const char *path, GError **error)
{
  g_autofree char *real = find_real_path (path);

  for (;;) {
    g_autoptr (QmpMonitor) self = ref_entry (real);
    Outcome outcome = connect_entry (self, error);

    if (outcome == READY)
      return g_steal_pointer (&self);
    if (outcome == FAILED)
      return NULL;
    give_way (self);
  }
}

void
qmp_monitor_unref (QmpMonitor *self)
{
  gboolean is_last;

  g_mutex_lock (&table_lock);
  is_last = --self->n_refs == 0;
  if (is_last)
    forget (self);
  g_mutex_unlock (&table_lock);
  if (!is_last)
    return;
  g_clear_pointer (&self->client, qmp_client_close);
  g_rec_mutex_clear (&self->lock);
  g_free (self->path);
  g_free (self);
}

void
qmp_monitor_lock (QmpMonitor *self)
{
  g_rec_mutex_lock (&self->lock);
}

void
qmp_monitor_unlock (QmpMonitor *self)
{
  g_rec_mutex_unlock (&self->lock);
}

QmpClient *
qmp_monitor_client (QmpMonitor *self)
{
  return self->client;
}
