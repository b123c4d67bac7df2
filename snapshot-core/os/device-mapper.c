/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/device-mapper.h"

#include <errno.h>
#include <libdevmapper.h>
#include <stdarg.h>

#include "snapshot-core/base/error.h"

typedef struct dm_task DmTask;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (DmTask, dm_task_destroy)

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

static void
initialise (void)
{
  static gsize once = 0;

  if (!g_once_init_enter (&once))
    return;
  dm_log_with_errno_init (note);
  dm_udev_set_sync_support (0);
  dm_hold_control_dev (1);
  g_once_init_leave (&once, 1);
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
  g_autoptr (DmTask) task = NULL;

  initialise ();
  said.text[0] = '\0';
  said.errnum = 0;
  task = dm_task_create (type);
  if (task == NULL || (name != NULL && !dm_task_set_name (task, name))
      || !dm_task_no_open_count (task))
    return NULL;
  return g_steal_pointer (&task);
}

static gboolean
task_run (DmTask *task)
{
  if (task != NULL && dm_task_run (task))
    return TRUE;
  said.errnum = task != NULL ? dm_task_get_errno (task) : 0;
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
  g_autoptr (DmTask) task = NULL;
  struct dm_info dm;

  initialise ();
  task = dm_task_create (DM_DEVICE_INFO);
  if (task == NULL || !dm_task_set_name (task, name) || !task_run (task)
      || !dm_task_get_info (task, &dm))
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
  dm_get_next_target (task, NULL, &start, &length, &target, &parameters);
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

  return (task != NULL && dm_task_set_sector (task, 0)
          && dm_task_set_message (task, text) && task_run (task))
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
