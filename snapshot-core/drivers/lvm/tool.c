/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM has no C library; its one interface is the lvm program with its JSON
 * reports.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <string.h>
#include <unistd.h>

#include "snapshot-core/os/command.h"
#include "snapshot-core/os/deadline.h"
#include "snapshot-core/os/device-mapper.h"

/* lvm waits for a lock for ever; we look again for as long as this. */
#define LOCK_WAIT_MS 10000
#define LOCK_LOOK_MS 100

/* A command that talks to a busy pool may take long; a dead one must not hold
   us for ever. */
#define TIMEOUT_MS (5 * 60 * 1000)

#define CONFIG "global{wait_for_locks=0} report{time_format=\"%s\"}"

/* ---- failures ---- */

static const struct {
  const char *words; /* in what lvm prints */
  SnapError code;
} reasons[] = {
  { "flock failed", SNAP_ERROR_BUSY },
  { "get lock for", SNAP_ERROR_BUSY },
  { "t get lock", SNAP_ERROR_BUSY },
  { " in use", SNAP_ERROR_BUSY },
  { "is used by another device", SNAP_ERROR_BUSY },
  { "Failed to find logical volume", SNAP_ERROR_NOT_FOUND },
  { "Volume group \"", SNAP_ERROR_NOT_FOUND },
  { "already exists", SNAP_ERROR_EXISTS },
  { "insufficient free space", SNAP_ERROR_NO_SPACE },
  { "reached threshold", SNAP_ERROR_NO_SPACE },
};

/* lvm has one exit code for nearly everything; its words tell more. */
static void
classify (GError *failure)
{
  if (!g_error_matches (failure, SNAP_ERROR, SNAP_ERROR_FAILED))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (reasons); i++)
    if (strstr (failure->message, reasons[i].words) != NULL) {
      failure->code = reasons[i].code;
      return;
    }
}

static gboolean
is_locked_out (const GError *failure)
{
  return failure->code == SNAP_ERROR_BUSY
         && strstr (failure->message, "lock") != NULL;
}

/* ---- running ---- */

/* Of the descriptors that lvm is given, it closes all but its first three. */
static gboolean
run (const char *const *arguments, int input_fd, char **output, GError **error)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  const SnapChildFd input = { input_fd, STDIN_FILENO };
  SnapCommandOptions options = { .fds = &input,
                                 .n_fds = input_fd >= 0 ? 1 : 0,
                                 .timeout_ms = TIMEOUT_MS };
  SnapDeadline deadline = snap_deadline_in (LOCK_WAIT_MS);

  g_ptr_array_add (argv, (char *) "lvm");
  g_ptr_array_add (argv, (char *) *arguments);
  g_ptr_array_add (argv, (char *) "--config");
  g_ptr_array_add (argv, (char *) CONFIG);
  for (arguments++; *arguments != NULL; arguments++)
    g_ptr_array_add (argv, (char *) *arguments);
  g_ptr_array_add (argv, NULL);
  for (;;) {
    GError *failure = NULL;

    if (snap_command_run ((const char *const *) argv->pdata, &options, output,
                          &failure))
      return TRUE;
    classify (failure);
    if (!is_locked_out (failure) || snap_deadline_left_ms (deadline) == 0) {
      g_propagate_error (error, failure);
      return FALSE;
    }
    g_error_free (failure);
    g_usleep (LOCK_LOOK_MS * 1000);
  }
}

gboolean
lvm_run (const char *const *arguments, char **output, GError **error)
{
  return run (arguments, -1, output, error);
}

gboolean
lvm_run_locked (const char *const *arguments, int lock_fd, GError **error)
{
  return run (arguments, lock_fd, NULL, error);
}

/* ---- the report ---- */

GPtrArray *
lvm_report (const char *what, GError **error)
{
  const char *arguments[] = { "lvs",  "-a",         "--units",
                              "b",    "--nosuffix", "--reportformat",
                              "json", "-o",         SNAP_LVM_REPORT_FIELDS,
                              "--",   what,         NULL };
  g_autofree char *output = NULL;

  if (!lvm_run (arguments, &output, error))
    return NULL;
  return snap_lvm_report_parse (output, "lvs", error);
}

GPtrArray *
lvm_report_seen (const LvmVolume *volume, GError **error)
{
  return volume->seen != NULL ? g_ptr_array_ref (volume->seen)
                              : lvm_report (volume->vg, error);
}

const SnapLvmVolume *
lvm_report_volume (GPtrArray *report, const LvmVolume *volume, GError **error)
{
  const SnapLvmVolume *found =
      snap_lvm_report_by_uuid (report, volume->parent.id);

  if (found == NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s/%s: is gone", volume->vg,
                    volume->name);
  return found;
}

/* ---- device-mapper names ---- */

const char *
lvm_dm_name (const SnapLvmVolume *volume)
{
  const char *slash =
      volume->dm_path != NULL ? strrchr (volume->dm_path, '/') : NULL;

  return slash != NULL ? slash + 1 : volume->name;
}

/* ---- pools ---- */

const SnapLvmVolume *
lvm_pool_of (GPtrArray *report, const SnapLvmVolume *volume, GError **error)
{
  const SnapLvmVolume *pool =
      volume->pool_uuid != NULL
          ? snap_lvm_report_by_uuid (report, volume->pool_uuid)
          : NULL;

  if (pool == NULL)
    snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s/%s: its pool is gone",
                    volume->vg, volume->name);
  return pool;
}

char *
lvm_pool_dm_name (const SnapLvmVolume *pool)
{
  return g_strconcat (lvm_dm_name (pool), "-tpool", NULL);
}

gboolean
lvm_is_active (const SnapLvmVolume *volume, gboolean *active, GError **error)
{
  g_autofree char *name = g_strcmp0 (volume->segtype, "thin-pool") == 0
                              ? lvm_pool_dm_name (volume)
                              : g_strdup (lvm_dm_name (volume));
  SnapDmInfo info;

  if (!snap_dm_info (name, &info, error))
    return FALSE;
  *active = info.exists;
  return TRUE;
}
