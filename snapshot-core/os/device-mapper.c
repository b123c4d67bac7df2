/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/device-mapper.h"

#include <errno.h>
#include <libdevmapper.h>
#include <stdarg.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/library.h"

#define FUNCTIONS(F)         \
  F (dm_get_next_target)     \
  F (dm_hold_control_dev)    \
  F (dm_log_with_errno_init) \
  F (dm_task_create)         \
  F (dm_task_destroy)        \
  F (dm_task_get_errno)      \
  F (dm_task_get_info)       \
  F (dm_task_no_open_count)  \
  F (dm_task_run)            \
  F (dm_task_set_message)    \
  F (dm_task_set_name)       \
  F (dm_task_set_sector)     \
  F (dm_udev_set_sync_support)

static struct {
  FUNCTIONS (SNAP_LIBRARY_POINTER)
} lib;

static const char *const lib_names[] = { FUNCTIONS (SNAP_LIBRARY_NAME) };

typedef struct dm_task DmTask;

static void
task_free (DmTask *task)
{
  lib.dm_task_destroy (task);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (DmTask, task_free)

static GMutex mutex; /* over every call into the library */

/* What the library said last in this call, and the errno with it. */
static struct {
  char text[256];
  int errnum;
} said;

/* ---- the library's state ---- */

static void G_GNUC_PRINTF (5, 6) note (int level, const char *file, int line,
                                       int errnum, const char *format, ...)
{
  va_list arguments;

  if ((level & 7) > 3) /* warnings and below are not why a call failed */
    return;
  va_start (arguments, format);
  g_vsnprintf (said.text, sizeof said.text, format, arguments);
  va_end (arguments);
}

static gboolean
load (void)
{
  g_autoptr (GError) error = NULL;

  if (snap_library_load (SNAP_DEVMAPPER_SONAME, lib_names,
                         G_N_ELEMENTS (lib_names), &lib, &error))
    return TRUE;
  g_strlcpy (said.text, error->message, sizeof said.text);
  return FALSE;
}

/* FALSE with what is said where the library cannot be had. */
static gboolean
initialise (void)
{
  static gboolean done;

  if (done)
    return TRUE;
  if (!load ())
    return FALSE;
  lib.dm_log_with_errno_init (note);
  lib.dm_udev_set_sync_support (0);
  lib.dm_hold_control_dev (1);
  return done = TRUE;
}

/* Begin a call: nothing is said yet. */
static DmTask *
task_begin (int type)
{
  said.text[0] = '\0';
  said.errnum = 0;
  return initialise () ? lib.dm_task_create (type) : NULL;
}

static SnapError
code_of (int errnum)
{
  switch (errnum) {
  case ENXIO:
  case ENODEV:
  case ENOENT:
    return SNAP_ERROR_NOT_FOUND;
  case EBUSY:
    return SNAP_ERROR_BUSY;
  case EPERM:
  case EACCES:
    return SNAP_ERROR_UNSUPPORTED;
  default:
    return SNAP_ERROR_IO;
  }
}

/* ---- one call ---- */

static DmTask *
task_new (int type, const char *name)
{
  g_autoptr (DmTask) task = task_begin (type);

  if (task == NULL || (name != NULL && !lib.dm_task_set_name (task, name))
      || !lib.dm_task_no_open_count (task))
    return NULL;
  return g_steal_pointer (&task);
}

static gboolean
task_run (DmTask *task)
{
  if (task != NULL && lib.dm_task_run (task))
    return TRUE;
  said.errnum = task != NULL ? lib.dm_task_get_errno (task) : 0;
  return FALSE;
}

static gboolean
refuse (const char *name, const char *what, GError **error)
{
  if (said.errnum != 0)
    return snap_error_set (error, code_of (said.errnum), "%s: %s: %s", name,
                           what, g_strerror (said.errnum));
  return snap_error_set (
      error, SNAP_ERROR_UNSUPPORTED, "%s: %s: %s", name, what,
      said.text[0] != '\0' ? said.text : "device mapper is not available");
}

void
snap_dm_load (void)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);

  load ();
}

gboolean
snap_dm_open (GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);
  g_autoptr (DmTask) task = task_new (DM_DEVICE_VERSION, NULL);

  return task_run (task) || refuse ("device mapper", "open", error);
}

gboolean
snap_dm_info (const char *name, SnapDmInfo *info, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);
  g_autoptr (DmTask) task = task_begin (DM_DEVICE_INFO);
  struct dm_info dm;

  if (task == NULL || !lib.dm_task_set_name (task, name) || !task_run (task)
      || !lib.dm_task_get_info (task, &dm))
    return refuse (name, "state", error);
  info->exists = dm.exists;
  info->suspended = dm.exists && dm.suspended;
  info->open_count = dm.exists ? (guint) MAX (dm.open_count, 0) : 0;
  return TRUE;
}

static char *
first_target (int type, const char *name, const char *what, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);
  g_autoptr (DmTask) task = task_new (type, name);
  uint64_t start;
  uint64_t length;
  char *target = NULL;
  char *parameters = NULL;

  if (!task_run (task)) {
    refuse (name, what, error);
    return NULL;
  }
  lib.dm_get_next_target (task, NULL, &start, &length, &target, &parameters);
  if (target == NULL) {
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: has no table", name);
    return NULL;
  }
  return g_strdup_printf ("%s %s", target,
                          parameters != NULL ? parameters : "");
}

char *
snap_dm_status (const char *name, GError **error)
{
  return first_target (DM_DEVICE_STATUS, name, "status", error);
}

char *
snap_dm_table (const char *name, GError **error)
{
  return first_target (DM_DEVICE_TABLE, name, "table", error);
}

gboolean
snap_dm_message (const char *name, const char *text, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);
  g_autoptr (DmTask) task = task_new (DM_DEVICE_TARGET_MSG, name);

  return (task != NULL && lib.dm_task_set_sector (task, 0)
          && lib.dm_task_set_message (task, text) && task_run (task))
         || refuse (name, text, error);
}

gboolean
snap_dm_suspend (const char *name, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);
  g_autoptr (DmTask) task = task_new (DM_DEVICE_SUSPEND, name);

  return task_run (task) || refuse (name, "suspend", error);
}

gboolean
snap_dm_resume (const char *name, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&mutex);
  g_autoptr (DmTask) task = task_new (DM_DEVICE_RESUME, name);

  return task_run (task) || refuse (name, "resume", error);
}
