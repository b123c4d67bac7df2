/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain of libvirt: a running guest that libvirt answers for.  The one place
 * that knows libvirt, which is loaded when it is first needed.
 *
 * Calls wait for libvirt, which may wait for others that work on the domain: up
 * to half a minute, for the agent without end.
 *
 * Threads: a domain belongs to one thread at a time.
 */
#ifndef QMP_LIBVIRT_H
#define QMP_LIBVIRT_H

#include <glib.h>

#include "qmp/error.h"

typedef struct _QmpDomain QmpDomain;

/*
 * Connect to libvirt at @uri, NULL for its default, and find the running domain
 * of a name or UUID.  Errors: GONE (there is none, or it does not run),
 * COMMAND (libvirt's reason), and SNAP_ERROR_UNSUPPORTED (no library).
 */
QmpDomain *qmp_domain_open (const char *uri, const char *name, GError **error);
void qmp_domain_close (QmpDomain *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpDomain, qmp_domain_close)

/* As QEMU has it on its command line; borrowed. */
const char *qmp_domain_uuid (QmpDomain *self);

/* All below connect anew if libvirt was started anew.  GONE: the domain that
   was opened runs no more. */
gboolean qmp_domain_suspend (QmpDomain *self, GError **error);
gboolean qmp_domain_resume (QmpDomain *self, GError **error);
gboolean qmp_domain_freeze (QmpDomain *self, guint *n_frozen, GError **error);
gboolean qmp_domain_thaw (QmpDomain *self, GError **error);

/* Hand a line to the monitor, or to the agent, and return its answer; the
   caller frees. */
char *qmp_domain_ask_monitor (QmpDomain *self, const char *line,
                              GError **error);
char *qmp_domain_ask_agent (QmpDomain *self, const char *line, guint timeout_s,
                            GError **error);

#endif
