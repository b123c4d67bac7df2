/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The declarations are those of libvirt's stable interface, as its reference
 * manual has them; nothing of it is needed to build.
 */
#include "config.h"

#include "qmp/libvirt.h"

#include <stdlib.h>

#include "snapshot-core/os/library.h"

typedef struct _virConnect *virConnectPtr;
typedef struct _virDomain *virDomainPtr;

virConnectPtr virConnectOpen (const char *uri);
int virConnectClose (virConnectPtr connection);
int virConnectIsAlive (virConnectPtr connection);
virDomainPtr virDomainLookupByName (virConnectPtr connection, const char *name);
virDomainPtr virDomainLookupByUUIDString (virConnectPtr connection,
                                          const char *uuid);
int virDomainFree (virDomainPtr domain);
unsigned int virDomainGetID (virDomainPtr domain);
int virDomainGetUUIDString (virDomainPtr domain, char *text);
int virDomainSuspend (virDomainPtr domain);
int virDomainResume (virDomainPtr domain);
int virDomainFSFreeze (virDomainPtr domain, const char **mountpoints,
                       unsigned int n, unsigned int flags);
int virDomainFSThaw (virDomainPtr domain, const char **mountpoints,
                     unsigned int n, unsigned int flags);
int virGetLastErrorCode (void);
const char *virGetLastErrorMessage (void);
void virSetErrorFunc (void *data, void (*handler) (void *data, void *error));

int virDomainQemuMonitorCommand (virDomainPtr domain, const char *command,
                                 char **result, unsigned int flags);
char *virDomainQemuAgentCommand (virDomainPtr domain, const char *command,
                                 int timeout, unsigned int flags);

#define VIR_ERR_NO_DOMAIN 42
#define UUID_LENGTH 37
#define NO_ID ((unsigned int) -1)

#define LIBVIRT_FUNCTIONS(F)      \
  F (virConnectOpen)              \
  F (virConnectClose)             \
  F (virConnectIsAlive)           \
  F (virDomainLookupByName)       \
  F (virDomainLookupByUUIDString) \
  F (virDomainFree)               \
  F (virDomainGetID)              \
  F (virDomainGetUUIDString)      \
  F (virDomainSuspend)            \
  F (virDomainResume)             \
  F (virDomainFSFreeze)           \
  F (virDomainFSThaw)             \
  F (virGetLastErrorCode)         \
  F (virGetLastErrorMessage)      \
  F (virSetErrorFunc)

#define QEMU_FUNCTIONS(F)         \
  F (virDomainQemuMonitorCommand) \
  F (virDomainQemuAgentCommand)

static struct {
  LIBVIRT_FUNCTIONS (SNAP_LIBRARY_POINTER)
} lib;

static struct {
  QEMU_FUNCTIONS (SNAP_LIBRARY_POINTER)
} qemu;

struct _QmpDomain {
  char *uri;
  char uuid[UUID_LENGTH];
  unsigned int id; /* of this run of it */
  virConnectPtr connection;
  virDomainPtr domain;
};

/* ---- the library ---- */

/* It would print errors that we return. */
static void
keep_silent (void *data, void *error)
{
}

static gboolean
load (GError **error)
{
  static const char *const names[] = { LIBVIRT_FUNCTIONS (SNAP_LIBRARY_NAME) };
  static const char *const more[] = { QEMU_FUNCTIONS (SNAP_LIBRARY_NAME) };

  if (!snap_library_load ("libvirt.so.0", names, G_N_ELEMENTS (names), &lib,
                          error)
      || !snap_library_load ("libvirt-qemu.so.0", more, G_N_ELEMENTS (more),
                             &qemu, error))
    return FALSE;
  lib.virSetErrorFunc (NULL, keep_silent);
  return TRUE;
}

static gboolean
fail (const char *what, GError **error)
{
  const char *text = lib.virGetLastErrorMessage ();
  QmpError code = lib.virGetLastErrorCode () == VIR_ERR_NO_DOMAIN
                      ? QMP_ERROR_GONE
                      : QMP_ERROR_COMMAND;

  return qmp_error_set (error, code, "%s: %s", what, text);
}

/* ---- the domain ---- */

static gboolean
connect (QmpDomain *self, GError **error)
{
  self->connection = lib.virConnectOpen (self->uri);
  return self->connection != NULL
         || fail (self->uri != NULL ? self->uri : "libvirt", error);
}

static void
disconnect (QmpDomain *self)
{
  if (self->domain != NULL)
    lib.virDomainFree (self->domain);
  if (self->connection != NULL)
    lib.virConnectClose (self->connection);
  self->domain = NULL;
  self->connection = NULL;
}

/* A name may look like a UUID. */
static gboolean
find (QmpDomain *self, const char *name, GError **error)
{
  self->domain = lib.virDomainLookupByName (self->connection, name);
  if (self->domain == NULL)
    self->domain = lib.virDomainLookupByUUIDString (self->connection, name);
  if (self->domain == NULL)
    return qmp_error_set (error, QMP_ERROR_GONE, "%s: no such domain", name);
  self->id = lib.virDomainGetID (self->domain);
  if (self->id == NO_ID)
    return qmp_error_set (error, QMP_ERROR_GONE, "%s: does not run", name);
  return lib.virDomainGetUUIDString (self->domain, self->uuid) == 0
         || fail (name, error);
}

QmpDomain *
qmp_domain_open (const char *uri, const char *name, GError **error)
{
  g_autoptr (QmpDomain) self = g_new0 (QmpDomain, 1);

  self->uri = g_strdup (uri);
  if (!load (error) || !connect (self, error) || !find (self, name, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
qmp_domain_close (QmpDomain *self)
{
  if (self == NULL)
    return;
  disconnect (self);
  g_free (self->uri);
  g_free (self);
}

const char *
qmp_domain_uuid (QmpDomain *self)
{
  return self->uuid;
}

/* Have a connection, and see that it is still the same run of the domain. */
static gboolean
get_ready (QmpDomain *self, GError **error)
{
  if (self->connection != NULL && lib.virConnectIsAlive (self->connection) != 1)
    disconnect (self);
  if (self->connection == NULL && !connect (self, error))
    return FALSE;
  if (self->domain != NULL)
    lib.virDomainFree (self->domain);
  self->domain = lib.virDomainLookupByUUIDString (self->connection, self->uuid);
  if (self->domain == NULL)
    return fail (self->uuid, error);
  return lib.virDomainGetID (self->domain) == self->id
         || qmp_error_set (error, QMP_ERROR_GONE, "%s: runs no more",
                           self->uuid);
}

/* Whether that it failed was only that the domain runs no more. */
static gboolean
explain (QmpDomain *self, const char *what, GError **error)
{
  GError *reason = NULL;

  fail (what, &reason);
  if (get_ready (self, error))
    g_propagate_error (error, reason);
  else
    g_error_free (reason);
  return FALSE;
}

gboolean
qmp_domain_suspend (QmpDomain *self, GError **error)
{
  return get_ready (self, error)
         && (lib.virDomainSuspend (self->domain) == 0
             || explain (self, "virDomainSuspend", error));
}

gboolean
qmp_domain_resume (QmpDomain *self, GError **error)
{
  return get_ready (self, error)
         && (lib.virDomainResume (self->domain) == 0
             || explain (self, "virDomainResume", error));
}

gboolean
qmp_domain_freeze (QmpDomain *self, guint *n_frozen, GError **error)
{
  int n;

  if (!get_ready (self, error))
    return FALSE;
  n = lib.virDomainFSFreeze (self->domain, NULL, 0, 0);
  *n_frozen = (guint) MAX (n, 0);
  return n >= 0 || explain (self, "virDomainFSFreeze", error);
}

gboolean
qmp_domain_thaw (QmpDomain *self, GError **error)
{
  return get_ready (self, error)
         && (lib.virDomainFSThaw (self->domain, NULL, 0, 0) >= 0
             || explain (self, "virDomainFSThaw", error));
}

/* What libvirt allocates is for free(). */
static char *
take (char *text)
{
  char *copy = g_strdup (text);

  free (text);
  return copy;
}

char *
qmp_domain_ask_monitor (QmpDomain *self, const char *line, GError **error)
{
  char *answer = NULL;

  if (!get_ready (self, error))
    return NULL;
  if (qemu.virDomainQemuMonitorCommand (self->domain, line, &answer, 0) == 0)
    return take (answer);
  explain (self, "virDomainQemuMonitorCommand", error);
  return NULL;
}

char *
qmp_domain_ask_agent (QmpDomain *self, const char *line, guint timeout_s,
                      GError **error)
{
  char *answer;

  if (!get_ready (self, error))
    return NULL;
  answer =
      qemu.virDomainQemuAgentCommand (self->domain, line, (int) timeout_s, 0);
  if (answer != NULL)
    return take (answer);
  explain (self, "virDomainQemuAgentCommand", error);
  return NULL;
}
